-- converse: one step on one conversation of its owner; no step takes longer for a larger one.
--
-- KEYS  1 meta (hash)   2 items (list)   3 index (hash)
-- ARGV  1 what: 'create', 'page', 'find', 'update', 'add', 'remove' or 'delete'   2 owner, or all its names
--       3 ttl (ms)   4 created_at or ''   5 metadata or ''   6 an item's name or ''
--       7 a position; for 'page' '' is the oldest or the newest   8 most entries of a step
--       9 for 'page' 1: the oldest first, -1: the newest first   10 most bytes   11 most items
--       12… items: name, spare name, payload, size, digest
-- Returns false for another owner's or an unknown conversation, else
--   'page': {created_at, metadata, items, bytes, removed so far, entries}
--   'find': {position of the name from the given one on, or -1; the position to go on from, or -1}
--   'add' and 'create': the names of the items in the conversation
--   'remove': 1, or 0 if the name is not at the position; every other step: 1
--   'add', 'create' and 'remove': 'full' if there would be too many items or bytes; 'again' if the
--   index lacked entries and may still lack some: the call is to be repeated
--
-- A name is an id as JSON: one line. An item's entry is its name, a newline and its payload. Of two
-- items with one name the second has its spare name. An item that the conversation has already comes
-- from a repeated call: it is not added again.
-- The index has a size and a digest for each name, and their totals: 'n' entries and 'b' bytes; a
-- name begins with a quote. Servers of an earlier release know only the list: the items that they
-- have added are counted here, some in each step; after they have removed one the index is rebuilt.

local function is_owner(kept)
  for name in string.gmatch(ARGV[2], '%S+') do
    if name == kept then return true end
  end
  return false
end

local what, ttl = ARGV[1], ARGV[3]
local MOST_BYTES = 1048576 -- that one step reads of the list, but for the last entry

if what == 'create' then
  if redis.call('EXISTS', KEYS[1]) == 1 then what = 'exists' end
  if what == 'create' then redis.call('HSET', KEYS[1], 'ow', ARGV[2], 'cr', ARGV[4]) end
elseif not is_owner(redis.call('HGET', KEYS[1], 'ow')) then
  return false
end

if what == 'delete' then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  return 1
end

local function name_of(entry) return string.match(entry, '^[^\n]*') end

local function each(position, step, most, visit)
  local bytes, seen = 0, 0
  local length = redis.call('LLEN', KEYS[2])
  while position >= 0 and position < length and seen < most and bytes < MOST_BYTES do
    local entry = redis.call('LINDEX', KEYS[2], position)
    if visit(entry, position) then return -1 end
    bytes, seen, position = bytes + #entry, seen + 1, position + step
  end
  return (position >= 0 and position < length) and position or -1
end

local function is_counted()
  local known = tonumber(redis.call('HGET', KEYS[3], 'n') or 0)
  if known > redis.call('LLEN', KEYS[2]) then
    redis.call('DEL', KEYS[3])
    known = 0
  end
  return each(known, 1, tonumber(ARGV[8]), function(entry)
    local name = name_of(entry)
    local value = #entry .. ' ' .. redis.sha1hex(string.sub(entry, #name + 2))
    redis.call('HSET', KEYS[3], name, value)
    redis.call('HINCRBY', KEYS[3], 'b', #entry)
    redis.call('HINCRBY', KEYS[3], 'n', 1)
  end) == -1
end

local function added()
  local names, new, pushed, bytes = {}, {}, {}, 0
  local function known(name) return new[name] or redis.call('HGET', KEYS[3], name) or '' end
  for i = 12, #ARGV, 5 do
    local own, spare, size, digest = ARGV[i], ARGV[i + 1], ARGV[i + 3], ARGV[i + 4]
    local function has(name) return string.match(known(name), ' (.*)') == digest end
    local name = own
    if not has(own) then
      if has(spare) or known(own) ~= '' then name = spare end
      if not has(spare) then
        new[name] = size .. ' ' .. digest
        bytes = bytes + size
        pushed[#pushed + 1] = {name, ARGV[i + 2], new[name]}
      end
    end
    names[#names + 1] = name
  end
  local sum = tonumber(redis.call('HGET', KEYS[3], 'b') or 0) + bytes
  local count = redis.call('LLEN', KEYS[2]) + #pushed
  if #pushed > 0 and (sum > tonumber(ARGV[10]) or count > tonumber(ARGV[11])) then return 'full' end
  for _, one in ipairs(pushed) do
    redis.call('RPUSH', KEYS[2], one[1] .. '\n' .. one[2])
    redis.call('HSET', KEYS[3], one[1], one[3])
  end
  redis.call('HINCRBY', KEYS[3], 'n', #pushed)
  redis.call('HINCRBY', KEYS[3], 'b', string.format('%.0f', bytes))
  return names
end

local function removed()
  local entry = redis.call('LINDEX', KEYS[2], ARGV[7])
  if not entry or name_of(entry) ~= ARGV[6] then return 0 end
  local size = string.match(redis.call('HGET', KEYS[3], ARGV[6]) or '', '^%d+') or #entry
  redis.call('LSET', KEYS[2], ARGV[7], 'removed') -- no name begins so
  redis.call('LREM', KEYS[2], 1, 'removed')
  redis.call('HDEL', KEYS[3], ARGV[6])
  redis.call('HINCRBY', KEYS[3], 'n', -1)
  redis.call('HINCRBY', KEYS[3], 'b', -size)
  redis.call('HINCRBY', KEYS[1], 'rm', 1)
  return 1
end

local answer = 1
if what == 'create' or what == 'update' then redis.call('HSET', KEYS[1], 'md', ARGV[5]) end
if what == 'create' then
  answer = added()
  if answer == 'full' then redis.call('DEL', KEYS[1]) end
elseif what == 'add' then
  answer = is_counted() and added() or 'again'
elseif what == 'remove' then
  answer = is_counted() and removed() or 'again'
elseif what == 'find' then
  local found = -1
  local rest = each(tonumber(ARGV[7]), 1, tonumber(ARGV[8]), function(entry, position)
    if name_of(entry) == ARGV[6] then found = position end
    return found >= 0
  end)
  answer = {found, rest}
elseif what == 'page' then
  local m = redis.call('HMGET', KEYS[1], 'cr', 'md', 'rm')
  local length, entries = redis.call('LLEN', KEYS[2]), {}
  local first = tonumber(ARGV[7]) or (ARGV[9] == '1' and 0 or length - 1)
  each(first, tonumber(ARGV[9]), tonumber(ARGV[8]), function(entry)
    entries[#entries + 1] = entry
  end)
  local bytes = tonumber(redis.call('HGET', KEYS[3], 'b') or 0)
  answer = {m[1], m[2], length, bytes, tonumber(m[3] or 0), entries}
end
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[2], ttl)
redis.call('PEXPIRE', KEYS[3], ttl)
return answer
