-- cancel: record that a response is to be ended, and notify its writer.
--
-- KEYS  1 meta (hash)
-- ARGV  1 the names of the owner   2 id   3 prefix of a worker's channel
-- Returns 1, or 0 if the response is unknown, ended or another owner's

local function is_owner(kept)
  for name in string.gmatch(ARGV[1], '%S+') do
    if name == kept then return true end
  end
  return false
end

local m = redis.call('HMGET', KEYS[1], 'ow', 'st', 'wk')
if not m[1] or not is_owner(m[1]) or m[2] ~= 'in_progress' then return 0 end
redis.call('HSET', KEYS[1], 'cx', '1')
redis.call('PUBLISH', ARGV[3] .. m[3], 'c' .. ARGV[2])
return 1
