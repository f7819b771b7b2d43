#!lua flags=no-writes
-- Read the manifest of one partition, with 1 or 0 for whether every bucket holds as many keys as it says.
--
-- KEYS[1]      manifest (see rules.lua)
-- KEYS[2...]   all buckets
--
-- Answers off, fp, ep, id, n, stage, ps (nil where there is none), and that number.

local stored = redis.call('HMGET', KEYS[1], 'off', 'fp', 'ep', 'id', 'n', 'stage', 'ps')
local is_whole = 1
for bucket = 2, #KEYS do
    if stored[1] and redis.call('HLEN', KEYS[bucket]) ~= struct.unpack('<I4', stored[5], (bucket - 2) * 4 + 1) then
        is_whole = 0
    end
end
stored[8] = is_whole
return stored
