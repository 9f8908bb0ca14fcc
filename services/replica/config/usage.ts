import { ROLES } from "./config.ts";

export const USAGE = `Usage: node services/replica/main.ts [--roles ROLE,…] [--listen HOST:PORT] [--probe HOST:PORT]

Serves one replica of the given roles until SIGTERM, then drains and exits.

  --roles ROLE,…      any of ${ROLES.join(", ")}; default: all
  --listen HOST:PORT  default: 127.0.0.1:0 (a free port, printed on stdout)
  --probe HOST:PORT   also serves health checks there, in plaintext, for probes that do not speak TLS
  --help              prints this text

Environment:
  WAYBILL_CREDENTIALS_DIR           folder of the services' keys (required)
  WAYBILL_TLS_DIR                   folder with ca.crt, tls.crt, tls.key for mutual TLS within the
                                    cluster; default: plaintext
  WAYBILL_DATABASE_URL_KEYS         Postgres address for the role keys
  WAYBILL_DATABASE_URL_IDENTITY     … for the role identity
  WAYBILL_DATABASE_URL_TOKEN        … for the role token
  WAYBILL_DATABASE_URL_SESSION      … for the role session
  WAYBILL_DATABASE_URL_CATALOG      … for the role catalog
  WAYBILL_DATABASE_URL_CHECKOUT     … for the role checkout
  WAYBILL_KEY_ENCRYPTION_KEY_FILE   file with 32 bytes in base64url (roles keys, token). To rotate it,
                                    restart the replicas three times: with the new key on a second
                                    line (it unwraps), with the two lines swapped (it wraps; keys under
                                    the old one are rewrapped within two minutes), and with the new
                                    key alone
  WAYBILL_ORIGINS                   public addresses of this system, separated by commas, such as
                                    https://api.example.com (required, except for the role keys)
  WAYBILL_ISSUER                    issuer of access tokens; default: the first of WAYBILL_ORIGINS
  WAYBILL_FRONT_PROXY_SECRET_FILE   secret that authenticates the front proxy; default: the replica
                                    ignores forwarding metadata
  WAYBILL_REVOCATION_BOUND_MS       1000 to 300000; default: 30000. A replica that has received no
                                    revocations for this long refuses protected calls
  WAYBILL_ACCESS_TOKEN_LIFE_S       10 to 3600; default: 300 (role token)
  WAYBILL_SIGNING_ALGORITHM         EdDSA or ES256; default: EdDSA (role token)
  WAYBILL_KEY_PUBLISH_S             0 to 86400; default: 1200. How long a signing key is published
                                    before it signs: twice the slowest cache (role token)
  WAYBILL_RING_ROTATE_S             60 to 31536000; default: 2592000 (30 days). How long a ring's key
                                    seals before the next one replaces it (role keys)
  WAYBILL_RING_LEASE_S              5 to 300; default: 30. A replica that has not reached the key
                                    service for this long seals nothing and reports NOT_SERVING; a
                                    killed replica delays rotations no longer than this (role keys)
  WAYBILL_LONGEST_SESSION_S         0 to 31622400; default: 0. Longest absolute life of a session of
                                    other services than these; keys, revocations and anchors are
                                    retained for this long (every role)
  WAYBILL_GRANTS_PER_MINUTE         1 or more; default: 6000. For each client (role token)
  WAYBILL_SIGN_UP                   open or closed; default: open. Closed: only administrators create
                                    accounts (role identity)
  WAYBILL_ARGON2                    cost of users' secrets; default: m=19456,t=2,p=1 (role identity)
  WAYBILL_KEYS_ADDRESS              gRPC target of the key service; default: this replica
  WAYBILL_IDENTITY_ADDRESS          … of the identity service; default: this replica (role token)
  WAYBILL_TOKEN_ADDRESS             … of the token service; default: this replica. Without either, the
                                    replica accepts no access tokens
  WAYBILL_CATALOG_ADDRESS           … of the catalog; default: this replica (role checkout)
  WAYBILL_SESSION_ADDRESS           … of the session service; default: this replica (role checkout)
  WAYBILL_DATABASE_CONNECTIONS      connections a role, 1 to 100; default: 5. At least 2 with the role
                                    keys: one of its connections listens
  WAYBILL_DATABASE_PREPARE          on or off; default: on. Off behind a pooler in transaction mode,
                                    such as PgBouncer; keys still needs a direct connection, and
                                    catalog sees changes up to a second later
  WAYBILL_CACHE_BYTES               0 to 68719476736; default: 16777216 (16 MiB). Most memory of cached
                                    responses: of the catalog (role catalog), and of checkout's catalog
                                    client (role checkout); each gets half where the replica serves
                                    both roles. 0: no cache
  WAYBILL_MAX_CONNECTION_AGE_MS     1000 or more; default: 300000
  WAYBILL_DRAIN_DELAY_MS            0 to 60000; default: 0. How long the replica reports NOT_SERVING
                                    before it drains
  WAYBILL_LOG_LEVEL                 trace, debug, info, warn, error or fatal; default: info
`;
