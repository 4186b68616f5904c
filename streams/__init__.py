"""What flows: wire formats, the worker, dead letters, the embedded broker and the simulator."""
