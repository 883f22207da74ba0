//! The Lua scripts and how a call of one is packed for the wire.

use redis::{Cmd, RedisWrite as _};

/// A script that the store keeps under its hash.
pub(super) struct Script {
    source: &'static str,
    hash: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        let hash = redis::Script::new(source).get_hash().to_owned();
        Self { source, hash }
    }
}

/// A script that runs only if the session is alive.
macro_rules! if_alive {
    ($file:literal) => {
        Script::new(concat!(include_str!("alive.lua"), include_str!($file)))
    };
}

/// Every script, one field each.
pub(super) struct Scripts {
    pub(super) authenticate: Script,
    pub(super) cart: Script,
    pub(super) add: Script,
    pub(super) remove: Script,
    pub(super) login: Script,
    pub(super) logout: Script,
    pub(super) sessions: Script,
    pub(super) end: Script,
    pub(super) revoke: Script,
    pub(super) reserve: Script,
    pub(super) give_back: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            authenticate: if_alive!("authenticate.lua"),
            cart: if_alive!("cart.lua"),
            add: if_alive!("add.lua"),
            remove: if_alive!("remove.lua"),
            login: Script::new(include_str!("login.lua")),
            logout: Script::new(include_str!("logout.lua")),
            sessions: if_alive!("sessions.lua"),
            end: if_alive!("end.lua"),
            revoke: Script::new(include_str!("revoke.lua")),
            reserve: Script::new(include_str!("reserve.lua")),
            give_back: Script::new(include_str!("give_back.lua")),
        }
    }
}

/// One call of a script. In the script, `ARGV` holds the numbers first, then the texts.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) script: &'a Script,
    pub(super) keys: &'a [&'a [u8]],
    pub(super) numbers: &'a [u64],
    pub(super) texts: &'a [&'a str],
}

impl Call<'_> {
    /// Names the script by its hash: the way to call it as long as the store knows it.
    pub(super) fn by_hash(&self) -> Cmd {
        self.pack("EVALSHA", &self.script.hash)
    }

    /// Carries the script along: for a store that has lost it, and knows it from then on.
    pub(super) fn by_source(&self) -> Cmd {
        self.pack("EVAL", self.script.source)
    }

    fn pack(&self, verb: &str, script: &str) -> Cmd {
        // Two allocations of the right size instead of several that grow. A number takes at most 20 digits.
        let arguments = 3 + self.keys.len() + self.numbers.len() + self.texts.len();
        let bytes = verb.len()
            + script.len()
            + 1
            + self.keys.iter().map(|key| key.len()).sum::<usize>()
            + self.numbers.len() * 20
            + self.texts.iter().map(|text| text.len()).sum::<usize>();
        let mut command = Cmd::with_capacity(arguments, bytes);
        command.arg(verb).arg(script).arg(self.keys.len());
        for key in self.keys {
            command.write_arg(key);
        }
        for number in self.numbers {
            command.arg(*number);
        }
        for text in self.texts {
            command.write_arg(text.as_bytes());
        }
        command
    }
}
