//! The turn: read all that is ready, let the heart work, write each side once.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use super::inquiry::{Inquiry, NodesInquiry, ends};
use super::last_words::hear_out;
use super::mail::{Mail, Mailbox, Sender};
use super::ready::{Place, ReadyList};
use super::sockets::{Socket, Sockets};
use crate::metrics::WorkerCells;
use crate::net;
use crate::session::Question;
use crate::time::Moment;
use crate::topology::{Endpoint, NodeId};
use crate::worker::{Action, WishReason, Worker};

/// One buffer for all reads of a worker: what is read is understood or copied at once.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Messages handled in one turn, so that a thousand new clients do not hold up the old ones.
const MAIL_PER_TURN: usize = 64;

/// How often a worker takes a turn when nothing happens: `/livez` and the gauges live on it.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Takes a wish of the heart, with the nodes that its requests wait for.
pub type Wish = Box<dyn Fn(WishReason, &[NodeId]) + Send>;

/// What the driver of one worker needs to know.
pub struct Settings {
    /// How long a dial may take.
    pub connect_timeout: Duration,
    /// Look once more for ready sockets before writing: gathers more into one write, for one
    /// more system call a turn. It pays when cores are contended.
    pub second_look: bool,
    /// The start of the process: all moments count from here.
    pub epoch: Instant,
    /// Called when the heart wishes the topology to be read again.
    pub wish: Wish,
    /// Called to put a question to all workers, this one included.
    pub ask: Box<dyn Fn(Inquiry) + Send>,
    /// Called to have a question answered that nodes have to be asked for.
    pub ask_nodes: Box<dyn Fn(NodesInquiry) + Send>,
    /// Called with the number of clients that have been closed.
    pub closed: Box<dyn Fn(usize) + Send>,
}

/// One worker with its sockets. A future that ends when the worker has been told to stop, or
/// has drained.
pub struct Driver {
    worker: Worker,
    settings: Settings,
    cells: Arc<WorkerCells>,
    mailbox: Mailbox,
    /// For the dials that this worker starts: they report here.
    own_mail: Sender,
    clients: Sockets,
    nodes: Sockets,
    /// Dials under way: connection → serial.
    dials: HashMap<u32, u64>,
    next_serial: u64,
    ready: Arc<ReadyList>,
    places: Vec<Place>,
    buffer: Box<[u8]>,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires.
    timer_at: Moment,
    heartbeat_at: Moment,
    looked_twice: bool,
    draining: bool,
    stopped: bool,
}

impl Driver {
    /// Joins a heart with its mailbox. Must be called inside the worker's runtime.
    pub fn new(
        worker: Worker,
        settings: Settings,
        cells: Arc<WorkerCells>,
        mailbox: Mailbox,
        own_mail: Sender,
    ) -> Driver {
        Driver {
            worker,
            settings,
            cells,
            mailbox,
            own_mail,
            clients: Sockets::default(),
            nodes: Sockets::default(),
            dials: HashMap::new(),
            next_serial: 0,
            ready: Arc::default(),
            places: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            timer: Box::pin(sleep_until(tokio::time::Instant::now())),
            timer_at: Moment::default(),
            heartbeat_at: Moment::default(),
            looked_twice: false,
            draining: false,
            stopped: false,
        }
    }

    fn now(&self) -> Moment {
        let micros = self.settings.epoch.elapsed().as_micros();
        Moment::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    // ---- reading ----

    fn read_ready(&mut self, cx: &mut Context<'_>, now: Moment) {
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        self.ready.take(&mut places, cx.waker());
        for &place in &places {
            match place {
                Place::Client(index) => self.client_ready(index, now),
                Place::Node(index) => self.node_ready(index, now),
            }
        }
        self.places = places;
    }

    /// One read a turn for each client: the buffer's size is its budget, what is left waits for
    /// the next turn.
    fn client_ready(&mut self, index: u32, now: Moment) {
        let Some(socket) = self.clients.get(index) else { return };
        socket.listing.taken();
        if socket.write_blocked {
            self.write_client(index, now);
        }
        if !self.worker.reads_client(index) {
            return;
        }
        let Some(socket) = self.clients.get(index) else { return };
        match read(socket, &mut self.buffer) {
            Read::Nothing => {}
            Read::Bytes { len, more } => {
                if more {
                    socket.listing.list();
                }
                self.worker.client_bytes(index, &self.buffer[..len], now);
            }
            Read::End => self.worker.client_ended(index, now),
            Read::Broken => self.worker.client_lost(index, now),
        }
        self.act();
    }

    fn node_ready(&mut self, index: u32, now: Moment) {
        let Some(socket) = self.nodes.get(index) else { return };
        socket.listing.taken();
        if socket.write_blocked {
            self.write_node(index, now);
        }
        if !self.worker.reads_node(index) {
            return;
        }
        let Some(socket) = self.nodes.get(index) else { return };
        match read(socket, &mut self.buffer) {
            Read::Nothing => {}
            Read::Bytes { len, more } => {
                if more {
                    socket.listing.list();
                }
                self.worker.node_bytes(index, &self.buffer[..len], now);
            }
            Read::End | Read::Broken => {
                self.nodes.close(index);
                self.worker.node_lost(index, now);
            }
        }
        self.act();
    }

    // ---- writing ----

    fn write_client(&mut self, index: u32, now: Moment) {
        let Some(socket) = self.clients.get(index) else { return };
        let output = self.worker.client_output(index);
        if output.is_empty() {
            socket.write_blocked = false;
            return;
        }
        match write(socket, output) {
            Ok(len) => self.worker.client_wrote(index, len, now),
            Err(_) => self.worker.client_lost(index, now),
        }
        self.act();
    }

    fn write_node(&mut self, index: u32, now: Moment) {
        let Some(socket) = self.nodes.get(index) else { return };
        let output = self.worker.node_output(index);
        if output.is_empty() {
            socket.write_blocked = false;
            return;
        }
        match write(socket, output) {
            Ok(len) => self.worker.node_wrote(index, len),
            Err(_) => {
                self.nodes.close(index);
                self.worker.node_lost(index, now);
                self.act();
            }
        }
    }

    /// Writes each node, then each client, until the heart wants nothing more.
    fn flush(&mut self, now: Moment) {
        self.worker.settle_turn();
        self.act();
        while self.worker.has_work() {
            while let Some(index) = self.worker.take_dirty_node() {
                self.write_node(index, now);
            }
            while let Some(index) = self.worker.take_dirty_client() {
                self.write_client(index, now);
            }
            self.worker.settle_turn();
            self.act();
        }
    }

    // ---- what the heart wants ----

    /// Carries out what the heart wants, after each thing that it was told: once it has closed
    /// something, its index may be used again, and no event of the old socket may come under it.
    fn act(&mut self) {
        while let Some(action) = self.worker.take_action() {
            self.act_on(action);
        }
    }

    fn act_on(&mut self, action: Action) {
        match action {
            Action::Dial { connection, endpoint } => self.dial(connection, &endpoint),
            Action::HearOut { connection } => {
                if let Some(socket) = self.nodes.take(connection) {
                    hear_out(socket.stream, Arc::clone(&self.cells));
                }
            }
            Action::CloseNode { connection } => {
                self.nodes.close(connection);
                self.dials.remove(&connection);
            }
            Action::CloseClient { client } => {
                self.clients.close(client);
                (self.settings.closed)(1);
            }
            Action::ReadNode { connection } => {
                if let Some(socket) = self.nodes.get(connection) {
                    socket.listing.list();
                }
            }
            Action::ReadClient { client } => {
                if let Some(socket) = self.clients.get(client) {
                    socket.listing.list();
                }
            }
            Action::Refresh(reason) => (self.settings.wish)(reason, &self.worker.waited_for()),
            Action::Ask { number, client, question: Question::Own(question) } => {
                let ends = self.clients.get(client).map(|socket| ends(&socket.stream));
                let now = self.now();
                self.worker.answer_own(number, &question, &ends.unwrap_or_default(), now);
            }
            Action::Ask { number, question: Question::All(question), .. } => {
                (self.settings.ask)(Inquiry::new(question, number, self.own_mail.clone()));
            }
            Action::Ask { number, question: Question::Nodes(question), .. } => {
                let asker = self.own_mail.clone();
                (self.settings.ask_nodes)(NodesInquiry { question, number, asker });
            }
        }
    }

    fn dial(&mut self, connection: u32, endpoint: &Endpoint) {
        self.next_serial += 1;
        let serial = self.next_serial;
        self.dials.insert(connection, serial);
        let (endpoint, timeout) = (endpoint.clone(), self.settings.connect_timeout);
        let mail = self.own_mail.clone();
        tokio::spawn(async move {
            let stream = net::dial(&endpoint.host, endpoint.port, timeout).await;
            if let Err(error) = &stream {
                tracing::debug!(node = %endpoint, %error, "dial failed");
            }
            // If the worker has ended, nobody wants the connection.
            let _ = mail.send(Mail::Dialed { connection, serial, stream });
        });
    }

    // ---- mail ----

    fn read_mail(&mut self, cx: &mut Context<'_>, now: Moment) {
        for _ in 0..MAIL_PER_TURN {
            match self.mailbox.poll_recv(cx) {
                Poll::Ready(Some(mail)) => {
                    self.handle(mail, now);
                    self.act();
                }
                Poll::Ready(None) => {
                    self.stopped = true;
                    return;
                }
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    fn handle(&mut self, mail: Mail, now: Moment) {
        match mail {
            Mail::Client { stream, id, manners } => match TcpStream::from_std(stream) {
                Ok(stream) => {
                    let index = self.worker.client_connected(id, manners, now);
                    self.clients.put(index, Socket::new(stream, Place::Client(index), &self.ready));
                }
                Err(error) => {
                    tracing::warn!(%error, "a client could not be taken in");
                    (self.settings.closed)(1);
                }
            },
            Mail::Dialed { connection, serial, stream } => {
                if self.dials.get(&connection) != Some(&serial) {
                    return; // the heart has given this connection up
                }
                self.dials.remove(&connection);
                match stream {
                    Ok(stream) => {
                        let socket = Socket::new(stream, Place::Node(connection), &self.ready);
                        self.nodes.put(connection, socket);
                        self.worker.node_connected(connection, now);
                    }
                    Err(_) => self.worker.node_lost(connection, now),
                }
            }
            Mail::Topology(topology) => {
                self.worker.topology_changed(topology, now);
                self.worker.connect_to_primaries(now);
            }
            Mail::Looks(looks) => self.worker.views_given(&looks, now),
            Mail::Limits { auto_deadline, bulk_bytes_max, scripts_apart } => {
                self.worker.set_scripts_apart(scripts_apart);
                self.worker.set_auto_deadline(auto_deadline);
                self.worker.set_bulk_bytes_max(bulk_bytes_max);
            }
            Mail::Question(inquiry) => {
                let clients = &mut self.clients;
                let mut find = |index| clients.get(index).map(|socket| ends(&socket.stream));
                let ends = |index| find(index).unwrap_or_default();
                inquiry.add(self.worker.inquire(&inquiry.question, ends, now));
            }
            Mail::Answer { number, reply } => self.worker.answered(number, &reply, now),
            Mail::Drain => {
                self.draining = true;
                self.worker.drain(now);
            }
            Mail::Stop => {
                self.stopped = true;
                self.worker.cut_off(now);
            }
        }
    }

    // ---- time ----

    /// Lets the heart know that time has passed, if it wanted to know.
    fn tick(&mut self, now: Moment) {
        if self.worker.next_wake().is_some_and(|at| at <= now) {
            self.worker.tick(now);
            self.act();
        }
        if self.heartbeat_at <= now {
            self.heartbeat_at = now + HEARTBEAT;
            self.worker.housekeeping(now);
            self.act();
            self.clients.shrink();
        }
    }

    /// Sets the timer, if it has to fire earlier than it would; a late one is only set anew when
    /// it fires, because setting it costs more than a turn for nothing.
    fn arm_timer(&mut self, cx: &mut Context<'_>, now: Moment) {
        let wanted =
            self.worker.next_wake().map_or(self.heartbeat_at, |wake| wake.min(self.heartbeat_at));
        loop {
            let fired = self.timer.is_elapsed();
            if fired || wanted < self.timer_at {
                let at = self.settings.epoch + Duration::from_micros(wanted.as_micros());
                self.timer.as_mut().reset(at.into());
                self.timer_at = wanted;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return;
            }
            if wanted <= now {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let now = this.now();
        this.read_ready(cx, now);
        if this.settings.second_look && !this.looked_twice {
            // Lets the runtime look for ready sockets, then come back here.
            this.looked_twice = true;
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        this.looked_twice = false;
        this.read_mail(cx, now);
        this.tick(now);
        this.flush(now);
        this.cells.turns.add(1);
        if this.stopped || (this.draining && this.worker.client_count() == 0) {
            return Poll::Ready(());
        }
        this.arm_timer(cx, now);
        Poll::Pending
    }
}

/// What a read brought.
enum Read {
    Bytes {
        len: usize,
        /// There may be more: the buffer was filled.
        more: bool,
    },
    Nothing,
    End,
    Broken,
}

/// Reads once. The waker is registered by the poll that finds nothing; after a read that did not
/// fill the buffer tokio knows that nothing is left, so that poll costs no system call.
fn read(socket: &mut Socket, buffer: &mut [u8]) -> Read {
    let mut cx = Context::from_waker(&socket.waker);
    let mut read_buf = ReadBuf::new(buffer);
    match Pin::new(&mut socket.stream).poll_read(&mut cx, &mut read_buf) {
        Poll::Pending => Read::Nothing,
        Poll::Ready(Err(_)) => Read::Broken,
        Poll::Ready(Ok(())) => {
            let len = read_buf.filled().len();
            if len == 0 {
                return Read::End;
            }
            let more = len == buffer.len() || socket.stream.poll_read_ready(&mut cx).is_ready();
            Read::Bytes { len, more }
        }
    }
}

/// Writes once. If the kernel does not take all, the rest waits until it is ready: tokio has
/// registered the waker then.
fn write(socket: &mut Socket, output: &[u8]) -> std::io::Result<usize> {
    let mut cx = Context::from_waker(&socket.waker);
    let mut written = 0;
    while written < output.len() {
        match Pin::new(&mut socket.stream).poll_write(&mut cx, &output[written..]) {
            Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(len)) => written += len,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {
                socket.write_blocked = true;
                return Ok(written);
            }
        }
    }
    socket.write_blocked = false;
    Ok(written)
}
