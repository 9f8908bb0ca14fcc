-- How many of a product there are at first: 100 to 499, by its number. Stock is kept from the first
-- order of a product on; until then this is it.
CREATE FUNCTION checkout.initial_stock(product_id bigint) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN 100 + (product_id % 400)::integer;

CREATE TABLE checkout.stock (
  product_id bigint PRIMARY KEY,
  available integer NOT NULL CHECK (available >= 0)
);

-- The orders. The id is the checkout's session id, so a checkout places one.
CREATE TABLE checkout."order" (
  id uuid PRIMARY KEY,
  subject text NOT NULL,
  -- waybill.checkout.v1.CheckoutState without `order`: what was ordered, where to, for how much.
  content bytea NOT NULL,
  -- SHA-256 of the content: whether another asking is for the same.
  digest bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX order_subject ON checkout."order" (subject, created_at DESC, id DESC);
