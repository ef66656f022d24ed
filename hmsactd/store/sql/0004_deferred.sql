-- Steps that were deferred, by the service that is to complete them: there may be as many as an agency's batch holds.
CREATE INDEX operation_deferred ON operation (namespace, awaits_who, started_at) WHERE awaits = 'completion';
