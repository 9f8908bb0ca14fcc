-- The feed's number. Its one row is locked by whatever puts something on the feed until that is
-- committed, so numbers appear in their order and without gaps; a sequence's would not.
CREATE TABLE keys.feed (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  number bigint NOT NULL
);
INSERT INTO keys.feed (number) VALUES (0);

-- What is revoked, until no token that it hits can be alive.
CREATE TABLE keys.revocation (
  number bigint PRIMARY KEY,
  -- Made by who revokes: the same again changes nothing.
  id bytea NOT NULL UNIQUE CHECK (length(id) = 16),
  kind text NOT NULL CHECK (kind IN ('subjectEpoch', 'family', 'token', 'session')),
  target text NOT NULL,
  -- Of a subject: below it everything is revoked.
  epoch integer NOT NULL,
  -- Of a session: by whom its entry counts. Empty for the others.
  owner text NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX revocation_owner ON keys.revocation (owner) WHERE kind = 'session';
CREATE INDEX revocation_expires_at ON keys.revocation (expires_at);

CREATE TABLE keys.audit_event (
  id uuid PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now(),
  action text NOT NULL,
  outcome text NOT NULL,
  actor text NOT NULL,
  client text NOT NULL,
  target text NOT NULL,
  address text NOT NULL,
  details jsonb NOT NULL
);
CREATE INDEX audit_event_actor ON keys.audit_event (actor, id);
CREATE INDEX audit_event_target ON keys.audit_event (target, id);
