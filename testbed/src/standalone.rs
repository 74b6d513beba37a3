//! One server without cluster mode, for comparisons and benches.

use crate::folder::Folder;
use crate::ports::Port;
use crate::server::{Recipe, Server};
use anyhow::Result;
use redis::{Cmd, Connection, FromRedisValue};
use std::path::Path;

/// A server without cluster mode in a temporary folder; killed when this is dropped.
#[derive(Debug)]
pub struct Standalone {
    // Dropped in this order: the folder goes after the process that writes to it.
    server: Server,
    _folder: Folder,
}

impl Standalone {
    /// Starts one with the default settings: nothing on disk.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Standalone> {
        Standalone::builder().start()
    }

    /// Starts one with other settings.
    pub fn builder() -> Builder {
        Builder { recipe: Recipe::new(false) }
    }

    /// `127.0.0.1:<port>`.
    pub fn addr(&self) -> String {
        self.server.addr()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// A new connection; reading and writing give up after 10 s.
    ///
    /// # Errors
    /// It does not answer.
    pub fn client(&self) -> Result<Connection> {
        self.server.connect()
    }

    /// Runs one command on a connection of our own.
    ///
    /// # Errors
    /// It does not answer within 2 s, or with an error, or with something else than `T`.
    pub fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.server.query(command)
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Stops it in the middle of what it does (SIGSTOP).
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&self) -> Result<()> {
        self.server.freeze()
    }

    /// Lets it continue after [`Standalone::freeze`].
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&self) -> Result<()> {
        self.server.thaw()
    }

    /// Starts it again on the same port, ending it first (SIGTERM) if it runs.
    ///
    /// # Errors
    /// It does not end, or not come up again.
    pub fn restart(&self) -> Result<()> {
        self.server.restart()
    }
}

/// The settings of a [`Standalone`].
#[derive(Debug)]
pub struct Builder {
    recipe: Recipe,
}

impl Builder {
    /// Adds a line to the configuration file; a later line of the same name wins.
    pub fn config(mut self, name: &str, value: &str) -> Builder {
        self.recipe.set(name, value);
        self
    }

    /// Makes clients authenticate with this password; our own connections do.
    pub fn password(mut self, password: &str) -> Builder {
        self.recipe.password = Some(password.to_owned());
        self
    }

    /// Runs this program instead of the default server.
    pub fn server(mut self, program: impl AsRef<Path>) -> Builder {
        self.recipe.program = program.as_ref().to_owned();
        self
    }

    /// Starts it; it answers when this returns.
    ///
    /// # Errors
    /// There is no server program, or it does not come up: the end of its log is in the error.
    pub fn start(self) -> Result<Standalone> {
        let folder = Folder::new()?;
        let server = Server::start(&self.recipe, Port::free()?, folder.path())?;
        Ok(Standalone { server, _folder: folder })
    }
}
