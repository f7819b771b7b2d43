#!lua flags=no-writes
-- Read all of some buckets, of the keys or of the roster, or answer nil when they are not what the caller relies on.
--
-- KEYS[1]      manifest (see rules.lua)
-- KEYS[2...]   buckets, in the order of the indexes below
-- ARGV[1]      base offset the manifest must stand at, or '' (there must be no manifest)
-- ARGV[2]      'n' for buckets of the keys, 'rn' for those of the roster: where the manifest counts them
-- ARGV[3...]   index of each bucket, counted from the first of its kind
--
-- The answer is key and value in turn, bucket after bucket; where no bucket is named, it is the counts, or '' where there
-- are none. Or it is 'merging', when the changes of a large call have to be merged first (see merge.lua).

local base = ARGV[1]
local stored = redis.call('HMGET', KEYS[1], 'off', ARGV[2], 'stage', 'rsn')
local offset, counts = stored[1], stored[2]
if base == '' and offset or base ~= '' and offset ~= base then return nil end
if stored[3] or stored[4] then return 'merging' end
if #KEYS == 1 then return {offset and counts or ''} end

local entries = {}
for bucket = 2, #KEYS do
    local found = redis.call('HGETALL', KEYS[bucket])
    if #found ~= 2 * struct.unpack('<I4', counts, ARGV[bucket + 1] * 4 + 1) then return nil end
    for i = 1, #found do entries[#entries + 1] = found[i] end
end
return entries
