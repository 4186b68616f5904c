"""Planted bugs for the negative controls. Filled in with the controls."""
def install(environment=None):
    return
