//! Which keys there are: the options of the roles that run for long.

use clap::{Arg, Command};

/// The server's table.
const SERVER: &str = "server";
/// The agent's table, also that of the agent of a host that stands alone.
const AGENT: &str = "agent";
/// Roles whose options are keys, and the table that they are in, unless one before has a key of that name.
const ROLES: [(&str, &str); 3] = [(AGENT, AGENT), (SERVER, SERVER), ("standalone", AGENT)];
/// Options of all roles that are none.
const NO_KEYS: [&str; 3] = ["config", "help", "version"];

/// One key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The table that it is in; empty for none.
    pub table: &'static str,
    /// Its name, which is that of the option.
    pub name: String,
    /// The option.
    pub arg: Arg,
    /// Roles that have it; none for what all have.
    pub roles: Vec<&'static str>,
}

impl Key {
    /// As people write it: `server.listen`.
    pub fn full_name(&self) -> String {
        match self.table {
            "" => self.name.clone(),
            table => format!("{table}.{}", self.name),
        }
    }

    /// The variable of the environment that goes before it, if there is one.
    pub fn variable(&self) -> Option<&str> {
        self.arg.get_env()?.to_str()
    }
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Keys(pub Vec<Key>);

impl Keys {
    /// Those of a command line.
    pub fn of(command: &Command) -> Self {
        let mut keys = Self(Vec::new());
        let options = |command: &Command| -> Vec<(String, Arg)> {
            let all = command.get_arguments();
            let named = all.filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.clone())));
            named
                .filter(|(name, _)| !NO_KEYS.contains(&name.as_str()))
                .collect()
        };
        for (name, arg) in options(command) {
            keys.0.push(Key {
                table: "",
                name,
                arg,
                roles: Vec::new(),
            });
        }
        for (role, table) in ROLES {
            for (name, arg) in command
                .find_subcommand(role)
                .map(options)
                .unwrap_or_default()
            {
                match keys.index_of(role, &name) {
                    Some(at) => keys.0[at].roles.push(role),
                    None => keys.0.push(Key {
                        table,
                        name,
                        arg,
                        roles: vec![role],
                    }),
                }
            }
        }
        keys
    }

    /// The key that gives an option of a command its default.
    pub fn find(&self, command: &str, option: &str) -> Option<&Key> {
        self.index_of(command, option).map(|at| &self.0[at])
    }

    fn index_of(&self, command: &str, option: &str) -> Option<usize> {
        let tables: &[&str] = match command {
            "accelnetd" => &[""],
            SERVER | "init" | "restore" => &[SERVER],
            "standalone" => &[AGENT, SERVER],
            _ => &[AGENT],
        };
        let at = |table: &&str| {
            let mut all = self.0.iter();
            all.position(|key| key.table == *table && key.name == option)
        };
        tables.iter().find_map(at)
    }

    /// True if a command has an option that a key gives its default.
    pub fn concern(&self, command: &Command) -> bool {
        let name = command.get_name();
        let mut options = command.get_arguments().filter_map(Arg::get_long);
        options.any(|option| self.find(name, option).is_some())
    }

    /// Tables that keys are in.
    pub fn tables(&self) -> [&'static str; 2] {
        [AGENT, SERVER]
    }
}
