"""The page and what agents call: the same questions as on the command line, answered over HTTP on loopback,
in a browser's own worker, or through MCP. No arithmetic."""
