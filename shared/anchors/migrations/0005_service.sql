-- The service whose session it is, where that keeps no anchors of its own. Null: the schema's own.
ALTER TABLE anchor ADD COLUMN service text;
