-- How a key's answers mark what rows hold; unset follows the configuration.
-- migrate:up
ALTER TABLE auth.api_keys ADD COLUMN untrusted_data text
  CHECK (untrusted_data IN ('wrap', 'plain')),
  ADD CONSTRAINT untrusted_data_of_clients CHECK (untrusted_data IS NULL OR kind = 'client_key');
GRANT SELECT (untrusted_data) ON auth.api_keys TO service_role;
