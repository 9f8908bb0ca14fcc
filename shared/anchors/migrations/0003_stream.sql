-- waybill.envelope.v1.Answer, sealed: what an advance in the course of a stream was answered. A stream
-- may be several advances ahead of what its caller has got when it breaks. Null for all others.
ALTER TABLE advance ADD COLUMN answer bytea;
ALTER TABLE advance ALTER COLUMN answer SET STORAGE EXTERNAL;
