#!lua
-- Delete the state of one partition, unless its manifest has moved. Answers 'gone', 'stays', or 'again' when another
-- call is being merged than the caller knows of.
--
-- KEYS[1]      manifest (see rules.lua)
-- KEYS[2...]   all buckets, those of the roster too, and all side hashes of the call being merged, if there is one
-- ARGV[1]      offset the manifest must stand at, or '' (wherever it stands)
-- ARGV[2]      digest of the call that is being merged, or ''

local CHUNK = 256
local stored = redis.call('HMGET', KEYS[1], 'off', 'stage', 'rsn', 'call')
if ARGV[1] ~= '' and stored[1] and stored[1] ~= ARGV[1] then return 'stays' end
if (stored[2] or stored[3] and stored[4] or '') ~= ARGV[2] then return 'again' end
redis.call('DEL', KEYS[1])
for i = 2, #KEYS, CHUNK do
    redis.call('UNLINK', unpack(KEYS, i, math.min(i + CHUNK - 1, #KEYS)))
end
return 'gone'
