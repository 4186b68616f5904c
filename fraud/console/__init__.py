"""The reviewers' console: server-rendered pages; `fraud.console.app.install_console` adds them to the API."""
