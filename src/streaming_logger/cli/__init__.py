"""The operator's command: looks at a log directory from another terminal, without the server's help."""
