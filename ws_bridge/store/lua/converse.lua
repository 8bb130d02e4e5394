-- converse: one step on one conversation, its owner checked.
--
-- KEYS  1 meta (hash)   2 items (list)
-- ARGV  1 what: 'create', 'read', 'update', 'add', 'remove' or 'delete'   2 owner, or all its names   3 ttl (ms)
--       4 created_at or ''   5 metadata or ''   6 an item's name or ''
--       7… items: name, spare name, payload
-- Returns false for another owner's or an unknown conversation, else
--   'read': {created_at, metadata, entries}; 'add': the names that the items have there;
--   'remove': how many items went; all else: 1
--
-- A name is an id as JSON: one line. An item's entry is its name, a newline and its payload. Of two
-- items with one name the second has its spare name. An entry that is there already is that of a
-- call that is repeated: it is not added again.

local function is_owner(kept)
  for name in string.gmatch(ARGV[2], '%S+') do
    if name == kept then return true end
  end
  return false
end

local what, ttl = ARGV[1], ARGV[3]
if what == 'create' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
  redis.call('HSET', KEYS[1], 'ow', ARGV[2], 'cr', ARGV[4])
elseif not is_owner(redis.call('HGET', KEYS[1], 'ow')) then
  return false
end

if what == 'delete' then
  redis.call('DEL', KEYS[1], KEYS[2])
  return 1
end

local function name_of(entry) return string.match(entry, '^[^\n]*') end

local answer, entries = 1, {}
if what == 'create' or what == 'update' then redis.call('HSET', KEYS[1], 'md', ARGV[5]) end
if what ~= 'update' then entries = redis.call('LRANGE', KEYS[2], 0, -1) end
if what == 'remove' then
  answer = 0
  for _, entry in ipairs(entries) do
    if name_of(entry) == ARGV[6] then answer = answer + redis.call('LREM', KEYS[2], 1, entry) end
  end
elseif what == 'read' then
  local m = redis.call('HMGET', KEYS[1], 'cr', 'md')
  answer = {m[1], m[2], entries}
elseif what == 'add' or what == 'create' then
  local names, there = {}, {}
  for _, entry in ipairs(entries) do there[entry], there[name_of(entry)] = true, true end
  for i = 7, #ARGV, 3 do
    local own, spare, payload = ARGV[i], ARGV[i + 1], '\n' .. ARGV[i + 2]
    local is_there = there[own .. payload] or there[spare .. payload]
    local name = (there[own .. payload] or not (is_there or there[own])) and own or spare
    if not is_there then
      redis.call('RPUSH', KEYS[2], name .. payload)
      there[name .. payload], there[name] = true, true
    end
    names[#names + 1] = name
  end
  if what == 'add' then answer = names end
end
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[2], ttl)
return answer
