#!lua flags=no-writes
-- Read the manifest of one partition, with 1 or 0 for whether every bucket holds as many keys or entries as it says.
--
-- KEYS[1]      manifest (see rules.lua)
-- KEYS[2...]   all buckets, those of the roster behind those of the keys
--
-- Answers off, fp, ep, id, n, stage, ps, rn, ly (nil where there is none; rsn for stage where only that is left), and that
-- number.

local BUCKETS = 256
local stored = redis.call('HMGET', KEYS[1], 'off', 'fp', 'ep', 'id', 'n', 'stage', 'ps', 'rn', 'ly', 'rsn')
stored[6] = stored[6] or stored[10]
local is_whole = 1
for index = 0, stored[1] and #KEYS - 2 or -1 do
    local is_roster = index >= BUCKETS
    local counts = is_roster and (stored[8] or string.rep('\0', BUCKETS * 4)) or stored[5]
    local expected = struct.unpack('<I4', counts, index % BUCKETS * 4 + 1)
    local is_nothing = is_roster and expected == 0  -- whatever stands there, see rules.lua
    if not is_nothing and redis.call('HLEN', KEYS[index + 2]) ~= expected then is_whole = 0 end
end
stored[10] = is_whole
return stored
