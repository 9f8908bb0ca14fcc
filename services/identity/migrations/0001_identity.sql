-- Epochs are never used twice, so that an account made anew under an old name begins after the
-- epochs of the old one.
CREATE SEQUENCE identity.epoch AS integer MINVALUE 1;

CREATE TABLE identity.service_account (
  id text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9-]{0,62}$'),
  display_name text NOT NULL DEFAULT '',
  public boolean NOT NULL DEFAULT false,
  scopes text[] NOT NULL DEFAULT '{}',
  audiences text[] NOT NULL DEFAULT '{}',
  jwks text NOT NULL DEFAULT '',
  exchange smallint NOT NULL DEFAULT 0,
  require_binding boolean NOT NULL DEFAULT false,
  disabled boolean NOT NULL DEFAULT false,
  -- SHA-256 of 256 random bits.
  secret_digest bytea CHECK (length(secret_digest) = 32),
  epoch integer NOT NULL DEFAULT nextval('identity.epoch'),
  revision bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE identity."user" (
  id uuid PRIMARY KEY,
  username text NOT NULL,
  display_name text NOT NULL DEFAULT '',
  scopes text[] NOT NULL DEFAULT '{}',
  disabled boolean NOT NULL DEFAULT false,
  -- Argon2id, with its parameters and salt, in the PHC string format.
  secret_hash text NOT NULL,
  epoch integer NOT NULL DEFAULT nextval('identity.epoch'),
  revision bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX user_username ON identity."user" (lower(username));

CREATE TABLE identity.issuer (
  id text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9-]{0,62}$'),
  issuer text NOT NULL UNIQUE,
  jwks_uri text NOT NULL,
  ca_certificate text NOT NULL DEFAULT '',
  algorithms text[] NOT NULL DEFAULT '{}',
  audience text NOT NULL DEFAULT '',
  bindings jsonb NOT NULL DEFAULT '[]',
  revision bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE identity.scope (
  id text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9._-]{0,63}$'),
  description text NOT NULL DEFAULT '',
  granted_to_users boolean NOT NULL DEFAULT false,
  revision bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE identity.audience (
  id text PRIMARY KEY CHECK (id ~ '^[a-z][a-z0-9-]{0,62}$'),
  description text NOT NULL DEFAULT '',
  granted_to_users boolean NOT NULL DEFAULT false,
  revision bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- What was revoked here, until the feed and the token service have acknowledged it.
CREATE TABLE identity.outbox (
  id bytea PRIMARY KEY CHECK (length(id) = 16),
  subject text NOT NULL,
  epoch integer NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- How often something was tried in the window that is running. Keys are digests: of an address, of a
-- username, of both.
CREATE TABLE identity.attempt (
  key bytea PRIMARY KEY,
  count integer NOT NULL,
  window_ends_at timestamptz NOT NULL
);
CREATE INDEX attempt_window_ends_at ON identity.attempt (window_ends_at);

-- From where an account was signed in to: attempts of strangers elsewhere do not count against it.
CREATE TABLE identity.known_address (
  key bytea PRIMARY KEY,
  seen_at timestamptz NOT NULL
);
CREATE INDEX known_address_seen_at ON identity.known_address (seen_at);

CREATE TABLE identity.audit_event (
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
CREATE INDEX audit_event_actor ON identity.audit_event (actor, id);
CREATE INDEX audit_event_target ON identity.audit_event (target, id);
