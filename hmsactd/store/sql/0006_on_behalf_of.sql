-- The person a program started an operation for, who had signed in: they decide none of its checkpoints.

ALTER TABLE operation ADD COLUMN on_behalf_of TEXT;
