#!lua
-- Delete the state of one partition, unless its manifest has moved. Answers 1 when it is gone, 0 when it stays.
--
-- KEYS[1]      manifest (see checkpoint.lua)
-- KEYS[2...]   all buckets
-- ARGV[1]      offset the manifest must stand at, or '' (wherever it stands)

local offset = redis.call('HMGET', KEYS[1], 'off')[1]
if ARGV[1] ~= '' and offset and offset ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('UNLINK', unpack(KEYS, 2))
return 1
