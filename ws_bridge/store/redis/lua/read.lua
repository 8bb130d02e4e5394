-- read: the state of a response after a cursor, all of one instant.
--
-- KEYS  1 meta (hash)   2 events (stream)   3 final event (string)   4 input (string)
-- ARGV  1 the names of the owner   2 cursor: the last number the reader has   3 most entries
--       4 '1' for a snapshot: with the record, and without the log of an ended response
--       5 '1' for a chain: with the side data
-- Returns false for another owner's, a deleted or an unknown response, and for one whose final
-- event was lost, else
--   {status, last, overdue, taken over, entries, makers of its input's items, final event,
--    record, side data}

local function is_owner(kept)
  for name in string.gmatch(ARGV[1], '%S+') do
    if name == kept then return true end
  end
  return false
end

local m = redis.call('HMGET', KEYS[1], 'ow', 'st', 'n', 'lx', 'tk', 'im')
if not m[1] or not is_owner(m[1]) or m[2] == 'deleted' then return false end

local overdue, final = 0, ''
if m[2] == 'in_progress' then
  local t = redis.call('TIME')
  if tonumber(m[4] or 0) <= t[1] * 1000 + math.floor(t[2] / 1000) then overdue = 1 end
else
  final = redis.call('GET', KEYS[3])
  if not final then return false end
end
local entries = {}
if final == '' or ARGV[4] == '' then
  local after = string.format('(%.0f-0', ARGV[2] + 1)
  entries = redis.call('XRANGE', KEYS[2], after, '+', 'COUNT', ARGV[3])
end
local record = ARGV[4] == '1' and redis.call('GET', KEYS[4]) or ''
local makers = record ~= '' and m[6] or ''
local side = ARGV[5] == '1' and redis.call('HGET', KEYS[1], 'side') or ''
return {m[2], tonumber(m[3]), overdue, m[5] and 1 or 0, entries, makers, final, record or '', side or ''}
