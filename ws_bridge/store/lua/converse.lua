-- converse: one step on one conversation, its owner checked.
--
-- KEYS  1 meta (hash)   2 items (list)
-- ARGV  1 what: 'create', 'read', 'update', 'add', 'remove' or 'delete'   2 owner   3 ttl (ms)
--       4 created_at or ''   5 metadata or ''   6 an item's name or ''   7… items, name and payload
-- Returns false for another owner's or an unknown conversation, else
--   'read': {created_at, metadata, payloads}; 'remove': whether the item was there; all else: 1
--
-- An item's entry is its name (its id as JSON: one line), a newline and its payload. Items that are
-- there already, all of them, are those of a call that is repeated: they are not added again.

local what, ttl = ARGV[1], ARGV[3]
if what == 'create' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
  redis.call('HSET', KEYS[1], 'ow', ARGV[2], 'cr', ARGV[4])
elseif redis.call('HGET', KEYS[1], 'ow') ~= ARGV[2] then
  return false
end

if what == 'delete' then
  redis.call('DEL', KEYS[1], KEYS[2])
  return 1
end

local answer = 1
if what == 'create' or what == 'update' then redis.call('HSET', KEYS[1], 'md', ARGV[5]) end
local is_new, entries = false, {}
for i = 7, #ARGV, 2 do
  entries[#entries + 1] = ARGV[i] .. '\n' .. ARGV[i + 1]
  is_new = is_new or not redis.call('LPOS', KEYS[2], entries[#entries])
end
if is_new then
  for _, entry in ipairs(entries) do redis.call('RPUSH', KEYS[2], entry) end
end
if what == 'remove' then
  answer = 0
  local wanted = ARGV[6] .. '\n'
  for _, entry in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
    if string.sub(entry, 1, #wanted) == wanted then
      answer = answer + redis.call('LREM', KEYS[2], 1, entry)
    end
  end
elseif what == 'read' then
  local m = redis.call('HMGET', KEYS[1], 'cr', 'md')
  answer = {m[1], m[2], redis.call('LRANGE', KEYS[2], 0, -1)}
end
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[2], ttl)
return answer
