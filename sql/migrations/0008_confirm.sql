-- Whether a person is asked before a key's destructive calls; unset follows the configuration.
-- migrate:up
ALTER TABLE auth.api_keys ADD COLUMN confirm text CHECK (confirm IN ('destructive', 'nothing')),
  ADD CONSTRAINT confirm_of_clients CHECK (confirm IS NULL OR kind = 'client_key');
GRANT SELECT (confirm) ON auth.api_keys TO service_role;
