-- Nothing looks for keys by it: the keys of a ring are few.
DROP INDEX keys.ring_key_open_until;
