//! The cluster as one node sees it: its CLUSTER NODES, read.

use anyhow::{Context, Result, ensure};
use std::ops::RangeInclusive;

/// What one node believes about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Every node it knows, itself included.
    pub nodes: Vec<NodeView>,
}

/// What a node believes about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its id: 40 hex digits.
    pub id: String,
    /// Its address for clients, `host:port`.
    pub addr: String,
    /// Its announced host name, if it has one.
    pub hostname: Option<String>,
    /// All its flags (`myself`, `master`, `slave`, `fail?`, `fail`, `handshake`, `noaddr`, …).
    pub flags: Vec<String>,
    /// Primary or replica.
    pub role: Role,
    /// When its last heartbeat was answered, in ms of the Unix epoch.
    pub pong_at: u64,
    /// The newer of two claims to a slot is the one with the higher epoch.
    pub config_epoch: u64,
    /// The bus connection to it is up.
    pub connected: bool,
    /// The slots it owns; none for a replica.
    pub slots: Vec<RangeInclusive<u16>>,
    /// Slots on their way from it, with the id of their target; only known about oneself.
    pub migrating: Vec<(u16, String)>,
    /// Slots on their way to it, with the id of their source; only known about oneself.
    pub importing: Vec<(u16, String)>,
}

/// Primary or replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may own slots.
    Primary,
    /// It copies the primary with this id.
    Replica(String),
}

impl View {
    /// Reads the reply of CLUSTER NODES.
    pub(crate) fn parse(text: &str) -> Result<View> {
        let nodes = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
            NodeView::parse(line).with_context(|| format!("in the line {line:?} of CLUSTER NODES"))
        });
        Ok(View { nodes: nodes.collect::<Result<_>>()? })
    }

    /// The node that answered.
    ///
    /// # Errors
    /// No node of the view is `myself`.
    pub fn myself(&self) -> Result<&NodeView> {
        self.nodes.iter().find(|node| node.has_flag("myself")).context("a view without an owner")
    }

    /// The node with this id.
    pub fn node(&self, id: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Who owns `slot`.
    pub fn owner(&self, slot: u16) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.owns(slot))
    }
}

impl NodeView {
    /// It has this flag.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// It owns `slot`.
    pub fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }

    /// How many slots it owns.
    pub fn slot_count(&self) -> usize {
        self.slots.iter().map(|range| range.clone().count()).sum()
    }

    /// `<id> <host:port@bus[,hostname[,aux…]]> <flags> <primary> <ping> <pong> <epoch> <link> <slot>…`
    fn parse(line: &str) -> Result<NodeView> {
        let fields: Vec<_> = line.split(' ').filter(|field| !field.is_empty()).collect();
        ensure!(fields.len() >= 8, "fewer than eight fields");
        let mut place = fields[1].split(',');
        let addr = place.next().unwrap_or_default().split('@').next().unwrap_or_default();
        let hostname = place.next().filter(|name| !name.is_empty() && !name.contains('='));
        let flags: Vec<_> = fields[2].split(',').map(str::to_owned).collect();
        let replica = flags.iter().any(|flag| flag == "slave");
        let role = if replica { Role::Replica(fields[3].to_owned()) } else { Role::Primary };
        let mut node = NodeView {
            id: fields[0].to_owned(),
            addr: addr.to_owned(),
            hostname: hostname.map(str::to_owned),
            flags,
            role,
            pong_at: fields[5].parse().context("the time of the last pong")?,
            config_epoch: fields[6].parse().context("the config epoch")?,
            connected: fields[7] == "connected",
            slots: Vec::new(),
            migrating: Vec::new(),
            importing: Vec::new(),
        };
        for field in &fields[8..] {
            node.parse_slots(field).with_context(|| format!("the slots {field:?}"))?;
        }
        Ok(node)
    }

    /// `7`, `0-5460`, `[7->-<id>]` (migrating) or `[7-<-<id>]` (importing).
    fn parse_slots(&mut self, field: &str) -> Result<()> {
        let moving = field.strip_prefix('[').and_then(|field| field.strip_suffix(']'));
        if let Some(moving) = moving {
            if let Some((slot, target)) = moving.split_once("->-") {
                self.migrating.push((slot.parse()?, target.to_owned()));
            } else if let Some((slot, source)) = moving.split_once("-<-") {
                self.importing.push((slot.parse()?, source.to_owned()));
            }
            return Ok(());
        }
        let (first, last) = field.split_once('-').unwrap_or((field, field));
        self.slots.push(first.parse()?..=last.parse()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
aa :7000@17000 myself,master - 0 0 3 connected 0-5 7 [7->-bb] [9-<-bb]
bb 127.0.0.1:7001@17001,node.example,shard-id=99 master,fail? - 1 2 4 disconnected 8-16383
cc ::1:7002@17002,,shard-id=99 slave aa 1 2 3 connected
";

    #[test]
    fn every_field_is_read() {
        let view = View::parse(TEXT).unwrap();
        let [a, b, c] = &view.nodes[..] else { panic!("{view:?}") };
        assert_eq!(view.myself().unwrap(), a);
        assert_eq!((a.slots.as_slice(), a.slot_count()), (&[0..=5, 7..=7][..], 7));
        assert_eq!(a.migrating, [(7, "bb".to_owned())]);
        assert_eq!(a.importing, [(9, "bb".to_owned())]);
        assert_eq!(
            (b.addr.as_str(), b.hostname.as_deref()),
            ("127.0.0.1:7001", Some("node.example"))
        );
        assert!(b.has_flag("fail?") && !b.has_flag("fail") && !b.connected);
        assert_eq!((c.addr.as_str(), c.hostname.as_deref()), ("::1:7002", None));
        assert_eq!(c.role, Role::Replica("aa".to_owned()));
        assert_eq!((c.pong_at, c.config_epoch), (2, 3));
        assert_eq!(view.owner(8), Some(b));
        assert_eq!(view.owner(6), None);
    }

    #[test]
    fn what_is_not_a_view_is_refused() {
        assert!(View::parse("ERR This instance has cluster support disabled").is_err());
        assert!(View::parse("aa :1@2 master - 0 0 3 connected 5-x").is_err());
    }
}
