//! What must not be known outside: passwords, keys and tokens, each in a file of its own that the processes read.
//!
//! A cluster on loopback gets fresh ones at every start. Containers keep theirs in a folder that all of them mount:
//! `lab secrets` makes what is missing there, and leaves what is there alone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::ClusterError;

/// Of all demo accounts.
pub const PASSWORD: &str = "password";
/// Signs tokens.
pub(super) const JWT_KEY: &str = "jwt.key";
/// Opens the nodes' operator calls.
pub const OPERATOR_TOKEN: &str = "operator.token";
/// Of the affinity cookie.
pub(super) const AFFINITY_KEY: &str = "affinity.key";
/// Opens the load balancer's admin port.
pub const ADMIN_TOKEN: &str = "admin.token";
/// Opens the agents' control ports.
pub(super) const AGENT_TOKEN: &str = "agent.token";
/// Of the store.
pub(super) const REDIS_PASSWORD: &str = "redis.password";
/// The same as Redis wants it: a piece of configuration, to be included.
const REDIS_CONF: &str = "redis.conf";
/// A name that Redis keeps and tells (`CONFIG GET syslog-ident`): so a store shows that this configuration is its own.
pub(super) const STORE_IDENT: &str = "session-lab";

/// Only the owner. Everything of a cluster on loopback runs as one user.
const OURS: u32 = 0o600;
/// The group, too: containers run as one group.
const OF_THE_GROUP: u32 = 0o440;

/// To be typed by hand in a workshop, so shorter than the others.
const PASSWORD_BYTES: usize = 6;
const KEY_BYTES: usize = 32;

/// The secrets of a cluster.
pub(super) struct Secrets {
    pub(super) password: String,
    pub(super) jwt_key: String,
    pub(super) operator_token: String,
    pub(super) affinity_key: String,
    pub(super) admin_token: String,
}

impl Secrets {
    /// Makes all (the password only where none is given) and writes each into a file of its own.
    pub(super) fn write(dir: &Path, password: Option<&str>) -> Result<Self, ClusterError> {
        let secrets = Self {
            password: password.map_or_else(|| random(PASSWORD_BYTES), |given| Ok(given.into()))?,
            jwt_key: random(KEY_BYTES)?,
            operator_token: random(KEY_BYTES)?,
            affinity_key: random(KEY_BYTES)?,
            admin_token: random(KEY_BYTES)?,
        };
        for (name, secret) in [
            (PASSWORD, &secrets.password),
            (JWT_KEY, &secrets.jwt_key),
            (OPERATOR_TOKEN, &secrets.operator_token),
            (AFFINITY_KEY, &secrets.affinity_key),
            (ADMIN_TOKEN, &secrets.admin_token),
        ] {
            create(dir, name, secret, OURS)?;
        }
        Ok(secrets)
    }

    /// Those that [`make_missing`] has made.
    pub(super) fn read(dir: &Path) -> Result<Self, ClusterError> {
        Ok(Self {
            password: read(dir, PASSWORD)?,
            jwt_key: read(dir, JWT_KEY)?,
            operator_token: read(dir, OPERATOR_TOKEN)?,
            affinity_key: read(dir, AFFINITY_KEY)?,
            admin_token: read(dir, ADMIN_TOKEN)?,
        })
    }
}

/// Makes every secret that the folder lacks, for programs that run as other users of the same group. The names of those
/// that it made.
///
/// Two at the same time agree: a file appears whole or not at all, and who comes second takes what is there.
pub fn make_missing(dir: &Path) -> Result<Vec<&'static str>, ClusterError> {
    fs::create_dir_all(dir).map_err(|source| failed(dir, "", source))?;
    let mut made = Vec::new();
    for name in [
        PASSWORD,
        JWT_KEY,
        OPERATOR_TOKEN,
        AFFINITY_KEY,
        ADMIN_TOKEN,
        AGENT_TOKEN,
        REDIS_PASSWORD,
    ] {
        let bytes = if name == PASSWORD {
            PASSWORD_BYTES
        } else {
            KEY_BYTES
        };
        if appear(dir, name, &random(bytes)?)? {
            made.push(name);
        }
    }
    let password = read(dir, REDIS_PASSWORD)?;
    let conf =
        format!("requirepass {password}\nmasterauth {password}\nsyslog-ident {STORE_IDENT}\n");
    if appear(dir, REDIS_CONF, &conf)? {
        made.push(REDIS_CONF);
    }
    Ok(made)
}

/// One secret of the folder, without the line's end that an editor may have added.
pub(super) fn read(dir: &Path, name: &str) -> Result<String, ClusterError> {
    match fs::read_to_string(dir.join(name)) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(source) => Err(failed(dir, name, source)),
    }
}

/// `bytes` random bytes in hexadecimal: fit for a header, a URL, a configuration file and a shell.
pub(super) fn random(bytes: usize) -> Result<String, ClusterError> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| ClusterError::Random(error.to_string()))?;
    Ok(random
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

/// Whether the file was not there before.
fn appear(dir: &Path, name: &str, secret: &str) -> Result<bool, ClusterError> {
    if dir.join(name).exists() {
        return Ok(false);
    }
    let draft = format!(".{name}.{}", random(4)?);
    create(dir, &draft, secret, OF_THE_GROUP)?;
    // A link is made only where there is nothing yet.
    let linked = fs::hard_link(dir.join(&draft), dir.join(name));
    fs::remove_file(dir.join(&draft)).map_err(|source| failed(dir, &draft, source))?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(dir, name, error)),
    }
}

fn create(dir: &Path, name: &str, secret: &str, mode: u32) -> Result<(), ClusterError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(dir.join(name))
        .and_then(|mut file| file.write_all(secret.as_bytes()))
        .map_err(|source| failed(dir, name, source))
}

fn failed(dir: &Path, name: &str, source: io::Error) -> ClusterError {
    ClusterError::File {
        path: dir.join(name),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn secrets_are_for_us_alone_and_a_given_password_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::write(dir.path(), Some("correct horse")).unwrap();
        assert_eq!(read(dir.path(), PASSWORD).unwrap(), "correct horse");
        assert_eq!(mode(&dir.path().join(JWT_KEY)), 0o600);
        assert_eq!(secrets.jwt_key.len(), 64);
        assert_ne!(secrets.jwt_key, secrets.affinity_key);
    }

    #[test]
    fn only_what_is_missing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        assert_eq!(make_missing(&folder).unwrap().len(), 8);
        assert_eq!(mode(&folder.join(AGENT_TOKEN)), 0o440);
        let secrets = Secrets::read(&folder).unwrap();
        let password = read(&folder, REDIS_PASSWORD).unwrap();
        let conf = read(&folder, REDIS_CONF).unwrap();
        assert_eq!(
            conf.lines().next(),
            Some(&*format!("requirepass {password}"))
        );

        fs::remove_file(folder.join(JWT_KEY)).unwrap();
        assert_eq!(make_missing(&folder).unwrap(), [JWT_KEY]);
        let again = Secrets::read(&folder).unwrap();
        assert_eq!(again.affinity_key, secrets.affinity_key);
        assert_ne!(again.jwt_key, secrets.jwt_key);
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            8,
            "no drafts are left"
        );
    }
}
