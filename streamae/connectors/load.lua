#!lua flags=no-writes
-- Read keys of one partition, or answer nil when they are not what the caller relies on.
--
-- KEYS[1]      manifest (see rules.lua)
-- KEYS[2...]   buckets, in the order of the groups below
-- ARGV[1]      base offset the manifest must stand at, or '' (there must be no manifest)
-- ARGV[2...]   a group a bucket: index, number of keys, the keys
--
-- The answer holds one value a key (nil = unknown), group after group; or it is 'merging', when the changes of a large
-- call have to be merged first (see merge.lua).

local CHUNK = 1000
local base = ARGV[1]
local stored = redis.call('HMGET', KEYS[1], 'off', 'n', 'stage')
local offset, counts = stored[1], stored[2]
if base == '' and offset or base ~= '' and offset ~= base then return nil end
if stored[3] then return 'merging' end

local values, at = {}, 2
for bucket = 2, #KEYS do
    local index, keys = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    local expected = offset and struct.unpack('<I4', counts, index * 4 + 1)
    if expected and redis.call('HLEN', KEYS[bucket]) ~= expected then return nil end
    local last = at + 1 + keys
    for i = at + 2, last, CHUNK do
        local until_ = math.min(i + CHUNK - 1, last)
        local read = offset and redis.call('HMGET', KEYS[bucket], unpack(ARGV, i, until_))
        for j = 1, until_ - i + 1 do
            values[#values + 1] = read and read[j] or false
        end
    end
    at = last + 1
end
return values
