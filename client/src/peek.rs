//! Looking at messages without receiving them.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use sampan_protocol::{MessageId, PeekOf, PeekedMessage, Reply, Request};

use crate::client::unexpected;
use crate::error::Error;
use crate::queue::Queue;

/// A look at messages to be carried out; see [`Queue::peek`].
///
/// ```no_run
/// # async fn example(queue: sampan_client::Queue) -> Result<(), sampan_client::Error> {
/// # use sampan_client::PeekOf;
/// for message in queue.peek().of(PeekOf::Delayed).max(20).await? {
///     println!("{} is due at {:?}: {:?}", message.id, message.ready_at, message.body);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Refused with `QueueNotFound`, `ReceiveOutOfRange`, `QueueBusy` or `TooManyRequests`;
/// [`Error::Corrupt`].
#[derive(Clone, Debug)]
#[must_use = "nothing is looked at before it is awaited"]
pub struct Peek {
    queue: Queue,
    of: PeekOf,
    id: MessageId,
    count_max: u16,
    len_max: u32,
}

impl Peek {
    pub(crate) fn new(queue: Queue) -> Self {
        Peek {
            queue,
            of: PeekOf::Ready,
            id: MessageId(0),
            count_max: 1,
            len_max: 0,
        }
    }

    /// Which messages. Default: those that can be received.
    pub fn of(mut self, of: PeekOf) -> Self {
        self.of = of;
        self
    }

    /// Only messages behind this one, the last of the page before. With [`PeekOf::Message`], this
    /// one itself.
    pub fn after(mut self, id: MessageId) -> Self {
        self.id = id;
        self
    }

    /// At most this many messages: 1 to 256. Default 1. Fewer may come although there are more;
    /// none only at the end.
    pub fn max(mut self, count: u16) -> Self {
        self.count_max = count;
        self
    }

    /// At most this many bytes of messages, but at least one message: up to 16 MiB. 0 is the
    /// default, 4 MiB.
    pub fn max_len(mut self, len: u32) -> Self {
        self.len_max = len;
        self
    }

    pub(crate) async fn run(self) -> Result<Vec<PeekedMessage>, Error> {
        let request = sampan_protocol::Peek {
            queue: self.queue.wire_name(),
            of: self.of,
            id: self.id,
            count_max: self.count_max,
            len_max: self.len_max,
        };
        let reply = self.queue.shared().call_for_reply(Request::Peek(request));
        let Reply::Peeked(messages) = reply.await? else {
            return Err(unexpected());
        };
        match messages
            .iter()
            .find(|message| message.check_body().is_err())
        {
            Some(damaged) => Err(Error::Corrupt { id: damaged.id }),
            None => Ok(messages),
        }
    }
}

impl IntoFuture for Peek {
    type Output = Result<Vec<PeekedMessage>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
