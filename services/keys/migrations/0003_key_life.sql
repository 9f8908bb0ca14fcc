-- A key's life after it sealed: until when what was sealed under it may be alive, and, when it has
-- leaked, that it is destroyed: then its id alone is kept.
ALTER TABLE keys.ring_key
  ADD COLUMN activated_at timestamptz,
  ADD COLUMN open_until timestamptz,
  DROP CONSTRAINT ring_key_state_check,
  ADD CONSTRAINT ring_key_state_check
    CHECK (state IN ('pending', 'active', 'retired', 'destroyed')),
  ADD CONSTRAINT ring_key_destroyed CHECK ((state = 'destroyed') = (wrapped = ''));

UPDATE keys.ring_key SET activated_at = created_at WHERE state = 'active';

CREATE INDEX ring_key_open_until ON keys.ring_key (open_until);
