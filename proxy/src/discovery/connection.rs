//! A control connection: questions out, decoded answers in.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::facts::NodeFacts;
use super::settings::Settings;
use crate::topology::reply::{Frame, ReplyError, Scan, decode};
use crate::topology::{
    Answers, Endpoint, ServerVersion, View, ViewError, config_value, info_text, is_primary,
    server_version,
};

/// Why a node gave no view. `Display` is the rest of a sentence that begins with its address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum AskError {
    #[error("cannot be resolved: {0}")]
    Resolve(String),
    #[error("cannot be reached: {0}")]
    Connect(String),
    #[error("did not answer within {}", humantime::format_duration(*.0))]
    Silent(Duration),
    #[error("closed the connection")]
    Closed,
    #[error("does not let us in: {0}")]
    Refused(String),
    #[error("broke the protocol: {0}")]
    Reply(#[from] ReplyError),
    #[error("broke the protocol: it answered what nobody asked")]
    Unasked,
    #[error(transparent)]
    View(#[from] ViewError),
}

/// What one node told when it was asked.
pub(super) struct Told {
    pub(super) view: View,
    pub(super) facts: NodeFacts,
}

/// A connection over which questions are asked, again and again. After an error it is closed.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    /// The host that "the one that was asked" means in the answers.
    asked: Endpoint,
    /// Questions that this node has refused: asking again would fill its ACL log.
    refused: [bool; QUESTIONS.len()],
}

/// All that is asked, in one write.
const QUESTIONS: [&[&str]; 10] = [
    &["CLUSTER", "MYID"],
    &["CLUSTER", "INFO"],
    &["CLUSTER", "NODES"],
    &["CLUSTER", "SLOTS"],
    &["CLUSTER", "SHARDS"],
    &["INFO", "server"],
    &["CONFIG", "GET", NODE_TIMEOUT],
    &["CONFIG", "GET", BULK_LENGTH],
    &["CONFIG", "GET", DATABASES],
    &["COMMAND", "COUNT"],
];
const NODE_TIMEOUT: &str = "cluster-node-timeout";
const BULK_LENGTH: &str = "proto-max-bulk-len";
const DATABASES: &str = "cluster-databases";

impl Connection {
    /// Connects and authenticates.
    pub(super) async fn open(
        address: SocketAddr,
        asked: Endpoint,
        settings: &Settings,
    ) -> Result<Connection, AskError> {
        let connect = timeout(settings.connect_timeout, TcpStream::connect(address));
        let stream = match connect.await {
            Err(_) => return Err(AskError::Connect("the connection timed out".to_owned())),
            Ok(connected) => connected.map_err(|e| AskError::Connect(reason(&e)))?,
        };
        stream.set_nodelay(true).map_err(|e| AskError::Connect(reason(&e)))?;
        let refused = [false; QUESTIONS.len()];
        let mut connection = Connection { stream, buffer: BytesMut::new(), asked, refused };
        let greeting = connection.greet(settings);
        timeout(settings.reply_timeout, greeting)
            .await
            .map_err(|_| AskError::Silent(settings.reply_timeout))??;
        Ok(connection)
    }

    /// Asks for everything.
    pub(super) async fn ask(&mut self, seed: bool, patience: Duration) -> Result<Told, AskError> {
        timeout(patience, self.ask_for_ever(seed)).await.map_err(|_| AskError::Silent(patience))?
    }

    /// Asks for nothing but whether it is a primary.
    pub(super) async fn is_primary(&mut self, patience: Duration) -> Result<bool, AskError> {
        let role = [vec![b"ROLE".as_slice()]];
        let answers = timeout(patience, self.call(&role)).await;
        match answers.map_err(|_| AskError::Silent(patience))??.as_slice() {
            [Frame::Error(text)] => Err(refusal(text)),
            answers => Ok(answers.first().is_some_and(is_primary)),
        }
    }

    /// Asks for what it says of itself.
    pub(super) async fn info(&mut self, patience: Duration) -> Result<String, AskError> {
        let question = [vec![b"INFO".as_slice()]];
        let answers = timeout(patience, self.call(&question)).await;
        match answers.map_err(|_| AskError::Silent(patience))??.first() {
            Some(Frame::Error(text)) => Err(refusal(text)),
            answer => Ok(answer.and_then(info_text).ok_or(AskError::Unasked)?.to_owned()),
        }
    }

    /// Asks what commands it has.
    pub(super) async fn commands(&mut self, patience: Duration) -> Result<Frame, AskError> {
        let question = [vec![b"COMMAND".as_slice()]];
        let answers = timeout(patience, self.call(&question)).await;
        let answers = answers.map_err(|_| AskError::Silent(patience))??;
        match answers.into_iter().next() {
            Some(Frame::Error(text)) => Err(AskError::Refused(text.to_string())),
            Some(answer) => Ok(answer),
            None => Err(AskError::Closed),
        }
    }

    async fn greet(&mut self, settings: &Settings) -> Result<(), AskError> {
        if let Some(credentials) = settings.credentials.get() {
            let user = credentials.user.as_deref().map(str::as_bytes);
            let mut auth: Vec<&[u8]> = vec![b"AUTH"];
            auth.extend(user);
            auth.push(credentials.password.expose());
            let answers = self.call(&[auth]).await?;
            if let [Frame::Error(text)] = answers.as_slice() {
                return Err(refusal(text));
            }
        }
        // For CLIENT LIST; a node that does not like it may ignore it.
        self.call(&[vec![b"CLIENT", b"SETNAME", b"slotway-discovery"]]).await.map(|_| ())
    }

    async fn ask_for_ever(&mut self, seed: bool) -> Result<Told, AskError> {
        let asked: Vec<usize> = (0..QUESTIONS.len()).filter(|&q| !self.refused[q]).collect();
        let words = |&q: &usize| QUESTIONS[q].iter().map(|word| word.as_bytes()).collect();
        let questions: Vec<Vec<&[u8]>> = asked.iter().map(words).collect();
        let mut answers: [Option<Frame>; QUESTIONS.len()] = Default::default();
        for (question, answer) in asked.into_iter().zip(self.call(&questions).await?) {
            self.refused[question] = is_refused_for_good(&answer);
            answers[question] = Some(answer);
        }
        let [
            my_id,
            info,
            nodes,
            slots,
            shards,
            server,
            node_timeout,
            bulk_length,
            databases,
            commands,
        ] = answers;
        let answers = Answers { my_id, info, slots, shards, nodes };
        let view = View::read(&self.asked, seed, &answers)?;
        Ok(Told { view, facts: facts(server, node_timeout, bulk_length, databases, commands) })
    }

    /// Sends commands in one write and reads as many replies.
    async fn call(&mut self, commands: &[Vec<&[u8]>]) -> Result<Vec<Frame>, AskError> {
        self.expect_silence()?;
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| write_command(command, &mut bytes));
        self.stream.write_all(&bytes).await.map_err(|_| AskError::Closed)?;
        let mut replies: Vec<Frame> = Vec::with_capacity(commands.len());
        while replies.len() < commands.len() {
            match self.reply().await {
                Ok(reply) => replies.push(reply),
                // `-ERR max number of clients reached` comes before any question, then the end.
                Err(AskError::Closed) => {
                    return Err(match replies.first() {
                        Some(Frame::Error(text)) => refusal(text),
                        _ => AskError::Closed,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(replies)
    }

    /// Before a question nothing may have been said: it would be taken for the answer.
    fn expect_silence(&mut self) -> Result<(), AskError> {
        match self.stream.try_read_buf(&mut self.buffer) {
            Ok(0) => Err(AskError::Closed),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(AskError::Closed),
            _ if self.buffer.is_empty() => Ok(()),
            _ => Err(AskError::Unasked),
        }
    }

    async fn reply(&mut self) -> Result<Frame, AskError> {
        const READ_BYTES: usize = 16 * 1024;
        let mut scan = Scan::default();
        loop {
            // Fails above the bound on a reply, so the buffer never grows past it.
            if let Some(len) = scan.advance(&self.buffer)? {
                return Ok(decode(&self.buffer.split_to(len).freeze())?);
            }
            self.buffer.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(AskError::Closed),
                Ok(_) => {}
            }
        }
    }
}

/// An array of bulk strings.
fn write_command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A command that the server does not know or permit; it will not tomorrow either.
fn is_refused_for_good(answer: &Frame) -> bool {
    match answer {
        Frame::Error(text) => text.starts_with("NOPERM ") || text.starts_with("ERR "),
        _ => false,
    }
}

fn refusal(text: &str) -> AskError {
    match ViewError::from_reply(text) {
        ViewError::Refused(text) => AskError::Refused(text),
        other => AskError::View(other),
    }
}

fn facts(
    server: Option<Frame>,
    node_timeout: Option<Frame>,
    bulk_length: Option<Frame>,
    databases: Option<Frame>,
    commands: Option<Frame>,
) -> NodeFacts {
    let version: Option<ServerVersion> = server.as_ref().and_then(server_version);
    let number = |answer: Option<Frame>, name| -> Option<u64> {
        config_value(answer.as_ref()?, name)?.parse().ok()
    };
    // From Valkey 9 on there is such an option, whether we may ask for it or not.
    let is_9 = |v: &ServerVersion| v.name == "valkey" && v.release()[0] >= 9;
    let databases_unasked = version.as_ref().filter(|v| is_9(v)).map(|_| 1);
    NodeFacts {
        version,
        node_timeout: number(node_timeout, NODE_TIMEOUT).map(Duration::from_millis),
        bulk_bytes_max: number(bulk_length, BULK_LENGTH),
        databases: number(databases, DATABASES).or(databases_unasked),
        commands: commands.and_then(|count| match count {
            Frame::Integer(count) => u64::try_from(count).ok(),
            _ => None,
        }),
    }
}

/// `connection refused` instead of `Connection refused (os error 111)`.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}
