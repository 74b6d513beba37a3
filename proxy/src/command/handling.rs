//! What the proxy does with a command.

/// What the proxy does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Goes by its keys to the owner of their slot. Invocations of it without keys (`EVAL x 0`,
    /// counts that are no counts) go to any primary, which answers or reports the mistake.
    Routed,
    /// Has no keys and harms nobody: goes to any primary.
    AnyNode,
    /// Concerns the data of all shards: every primary executes it, and the replies become one.
    Shards,
    /// Concerns every node by itself, replicas too, as a setting does.
    Nodes,
    /// Walks through the keys of all shards, one after the other.
    Scan,
    /// Wants one of the keys of all shards.
    RandomKey,
    /// Is about what its client has written, at all shards where that is.
    Wait,
    /// The proxy answers it itself.
    Local(Local),
    /// Begins, ends or guards a transaction, which is queued by the proxy and sent as one.
    Transaction,
    /// Subscribes its client.
    Subscribe(Channels),
    /// Ends subscriptions of its client.
    Unsubscribe(Channels),
    /// A message for who is subscribed to a channel: goes to the owner of the channel's slot.
    Publish(Channels),
    /// Asks who is subscribed, of every node.
    Subscribers,
    /// Has no keys but names a slot, as its third word: goes to the slot's owner. What is no
    /// slot goes to any primary, which reports the mistake.
    BySlot,
    /// Refused: as an unknown command for now, or by policy where the reason is one.
    Refused(Reason),
}

/// What a client can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channels {
    /// Channels, by their names.
    Named,
    /// All channels whose names match a pattern.
    Matching,
    /// Shard channels, each the business of its slot's shard alone.
    Shard,
}

impl Channels {
    /// Each of them, in the order of their numbers.
    pub const ALL: [Channels; 3] = [Channels::Named, Channels::Matching, Channels::Shard];
}

/// The commands that the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// PING
    Ping,
    /// ECHO
    Echo,
    /// QUIT
    Quit,
    /// SELECT
    Select,
    /// INFO
    Info,
    /// HELLO
    Hello,
    /// RESET
    Reset,
    /// AUTH
    Auth,
    /// CLIENT ID
    ClientId,
    /// CLIENT SETNAME
    ClientSetname,
    /// CLIENT GETNAME
    ClientGetname,
    /// CLIENT SETINFO
    ClientSetinfo,
    /// CLIENT INFO
    ClientInfo,
    /// CLIENT LIST
    ClientList,
    /// CLIENT KILL
    ClientKill,
    /// CLIENT PAUSE
    ClientPause,
    /// CLIENT UNPAUSE
    ClientUnpause,
    /// CLIENT REPLY
    ClientReply,
    /// CLIENT NO-EVICT
    ClientNoEvict,
    /// CLIENT NO-TOUCH
    ClientNoTouch,
    /// CLIENT UNBLOCK
    ClientUnblock,
    /// CLIENT GETREDIR
    ClientGetredir,
    /// CLIENT TRACKINGINFO
    ClientTrackinginfo,
    /// CLIENT TRACKING
    ClientTracking,
    /// CLIENT CACHING
    ClientCaching,
    /// CLIENT CAPA
    ClientCapa,
    /// CLUSTER and what follows it, where that tells about the cluster that a client sees
    Cluster,
    /// COMMAND, COMMAND COUNT, COMMAND INFO and COMMAND LIST
    Command,
    /// READONLY and READWRITE
    Readonly,
    /// TIME
    Time,
    /// ACL WHOAMI
    AclWhoami,
    /// ROLE
    Role,
    /// LOLWUT
    Lolwut,
    /// PROXY and what follows it: the operator's command of the proxy
    Proxy,
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Would change the state of a node connection that others use.
    ChangesConnection,
    /// Policy: is for whoever debugs a server.
    Debugging,
    /// Policy: would stop or change nodes.
    OfNodes,
    /// Policy: would change the cluster.
    Reshapes,
    /// Policy: would turn a node connection that others use into something else. Nothing allows
    /// that.
    TakesOver,
    /// Names a family of subcommands, of which one must follow. [`resolve`](super::resolve)
    /// never returns such a row.
    Family,
}

impl Reason {
    /// Why it is refused, in words, if that is a matter of policy.
    pub fn policy(self) -> Option<&'static str> {
        match self {
            Reason::Debugging => Some("it is for debugging a server"),
            Reason::OfNodes => Some("it would stop or change nodes"),
            Reason::Reshapes => Some("it would change the cluster"),
            Reason::TakesOver => Some("it would take over a connection that others use"),
            _ => None,
        }
    }

    /// Whether the operator can allow it.
    pub fn can_be_allowed(self) -> bool {
        matches!(self, Reason::Debugging | Reason::OfNodes | Reason::Reshapes)
    }
}
