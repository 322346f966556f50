-- What cores from 0.10 on take from the extension supabase_vault. This one encrypts nothing: it is
-- for tests, and nobody but its owner may read it.

CREATE SCHEMA IF NOT EXISTS vault;
COMMENT ON SCHEMA vault IS
    'stand-in of pgflow-ref: keeps secrets in vault.secrets without encrypting them';

CREATE TABLE vault.secrets (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text UNIQUE,
    description text NOT NULL DEFAULT '',
    secret text NOT NULL,
    key_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW vault.decrypted_secrets AS
    SELECT id, name, description, secret, secret AS decrypted_secret, key_id,
           created_at, updated_at
    FROM vault.secrets;

CREATE FUNCTION vault.create_secret(
    new_secret text,
    new_name text DEFAULT NULL,
    new_description text DEFAULT '',
    new_key_id uuid DEFAULT NULL
) RETURNS uuid
LANGUAGE sql
SET search_path = ''
AS $stand_in$
    INSERT INTO vault.secrets (secret, name, description, key_id)
    VALUES (new_secret, new_name, new_description, new_key_id)
    RETURNING id;
$stand_in$;

CREATE FUNCTION vault.update_secret(
    secret_id uuid,
    new_secret text DEFAULT NULL,
    new_name text DEFAULT NULL,
    new_description text DEFAULT NULL,
    new_key_id uuid DEFAULT NULL
) RETURNS void
LANGUAGE sql
SET search_path = ''
AS $stand_in$
    UPDATE vault.secrets
    SET secret = coalesce(new_secret, secret),
        name = coalesce(new_name, name),
        description = coalesce(new_description, description),
        key_id = coalesce(new_key_id, key_id),
        updated_at = now()
    WHERE id = secret_id;
$stand_in$;
