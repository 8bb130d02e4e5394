#!/bin/sh
# One question to Codex, which asks the MCP server for the weather. See config.toml.
# It waits for a lost server without end: `timeout` ends it.
exec timeout 300 codex exec --skip-git-repo-check -c "model=${MODEL:-demo}" "How is the weather in Paris?"
