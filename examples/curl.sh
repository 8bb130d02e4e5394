#!/usr/bin/env bash
# Over HTTP: an answer as it comes, one in the background, and the rest of its events.
set -euo pipefail
responses=${OPENAI_BASE_URL:-http://127.0.0.1:8787/v1}/responses
model=${MODEL:-demo}

ask() { curl -sSN --fail-with-body -H "Authorization: Bearer ${OPENAI_API_KEY:-any}" "$@"; }
create() { ask "$responses" -H "Content-Type: application/json" -d "$1"; }
text() { # of a stream of events; fails where the answer is not whole
  awk '/^event: response.completed/ { whole = 1 }
    match($0, /"delta":"[^"]*"/) { printf "%s", substr($0, RSTART + 9, RLENGTH - 10); fflush() }
    END { print ""; exit !whole }'
}

# As it comes, word by word.
create '{"model": "'"$model"'", "input": "count to 3", "stream": true}' | text

# In the background: the id is there at once. It is polled until it has ended.
id=$(create '{"model": "'"$model"'", "input": "count to 20", "background": true}' | grep -o 'resp_[0-9a-f]*')
while ask "$responses/$id" | grep -E '"status":"(queued|in_progress)"' >/dev/null; do sleep 1; done

# Its text, and its events from number 25 on: as if what came before were known.
ask "$responses/$id?stream=true" | text
ask "$responses/$id?stream=true&starting_after=25" | text
