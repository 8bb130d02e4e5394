#!/bin/sh
# One question to Codex, which asks the MCP server for the weather; config.toml says how.
export OPENAI_API_KEY="${OPENAI_API_KEY:-any}"   # a bridge without keys takes any
# Codex waits for a lost server without end: `timeout` ends it.
exec timeout 300 codex exec --skip-git-repo-check -c "model=${MODEL:-demo}" "How is the weather in Paris?"
