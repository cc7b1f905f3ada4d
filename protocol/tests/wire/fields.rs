//! Says in text what a frame carries, one `NAME = VALUE` per line, as the vectors do.

use std::fmt::Display;

use sampan_protocol::{
    Applied, AttributeChanges, FrameHeader, GroupMode, HandleResults, Handles, MessageRecord,
    PeekedMessage, QueueDescription, ReceivedMessage, Redrive, RedriveStatus, Reply, Request, Send,
    SentReply, WhenFull, headers,
};

use crate::vector::Value;

/// The lines of a frame.
pub(crate) fn of(header: &FrameHeader, value: &Value) -> Vec<String> {
    let mut lines = Lines(Vec::new());
    lines.push("kind", format!("{:#04x}", header.kind));
    lines.push("flags", header.flags);
    lines.push("request_id", header.request_id);
    match value {
        Value::Request(request) => lines.request(request),
        Value::Reply(reply) => lines.reply(reply),
    }
    lines.0
}

struct Lines(Vec<String>);

impl Lines {
    fn push(&mut self, name: &str, value: impl Display) {
        self.0.push(format!("{name} = {value}"));
    }

    fn push_text(&mut self, name: &str, value: &str) {
        self.push(name, format!("{value:?}"));
    }

    fn push_or(&mut self, name: &str, value: Option<impl Display>, none: &str) {
        match value {
            Some(value) => self.push(name, value),
            None => self.push(name, none),
        }
    }

    fn request(&mut self, request: &Request) {
        match request {
            Request::Hello(hello) => {
                self.push("version_min", hello.version_min);
                self.push("version_max", hello.version_max);
            }
            Request::Authenticate(authenticate) => {
                self.push_text("secret_id", authenticate.secret_id.as_str());
                self.push("signature", hex(&authenticate.signature));
            }
            Request::Ping => {}
            Request::QueueCreate(create) => {
                self.push_text("name", create.name.as_str());
                self.changes(&create.changes);
            }
            Request::QueueSet(set) => {
                self.push_text("name", set.name.as_str());
                self.changes(&set.changes);
            }
            Request::QueueShow { name }
            | Request::QueueDelete { name }
            | Request::QueuePurge { name }
            | Request::RedriveStatus { name }
            | Request::RedriveCancel { name } => {
                self.push_text("name", name.as_str());
            }
            Request::QueueRewind(rewind) => {
                self.push("to", rewind.to);
                self.push_text("name", rewind.name.as_str());
            }
            Request::QueueList(list) => {
                self.push("count_max", list.count_max);
                self.push_text("prefix", list.prefix.as_str());
                self.push_text("after", list.after.as_str());
            }
            Request::Redrive(redrive) => self.redrive(redrive),
            Request::Route(route) => self.push_text("queue", route.queue.as_str()),
            Request::Send(send) => self.send(send),
            Request::Receive(receive) => {
                self.push_text("queue", receive.queue.as_str());
                self.push("count_max", receive.count_max);
                self.push("len_max", receive.len_max);
                self.push_or("wait_ms", receive.wait_ms, "queue");
                let timeout = receive.visibility_timeout_ms;
                self.push_or("visibility_timeout_ms", timeout, "queue");
            }
            Request::Delete(delete) => {
                self.push_text("queue", delete.queue.as_str());
                self.handles(&delete.handles);
            }
            Request::ChangeVisibility(change) => {
                self.push_text("queue", change.queue.as_str());
                self.push("visibility_timeout_ms", change.visibility_timeout_ms);
                self.handles(&change.handles);
            }
            Request::Peek(peek) => {
                self.push_text("queue", peek.queue.as_str());
                self.push("of", format!("{:?}", peek.of));
                self.push("id", peek.id);
                self.push("count_max", peek.count_max);
                self.push("len_max", peek.len_max);
            }
            Request::Reschedule(reschedule) => {
                self.push_text("queue", reschedule.queue.as_str());
                self.push("id", reschedule.id);
                self.push_or("delay_ms", reschedule.delay_ms, "never");
            }
            Request::Admin(admin) => {
                self.push_text("verb", admin.verb.as_str());
                self.push_text("json", &admin.json);
            }
        }
    }

    fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Hello(hello) => {
                self.push("version", hello.version);
                self.push("nonce", hex(&hello.nonce));
                self.push("frame_len_max", hello.frame_len_max);
                self.push("requests_in_flight_max", hello.requests_in_flight_max);
            }
            Reply::QueueShown(description) => self.description(description),
            Reply::QueueListed(page) => {
                self.push("more", page.more);
                for (index, name) in page.names.iter().enumerate() {
                    self.push_text(&format!("name[{index}]"), name);
                }
            }
            Reply::Route(route) => {
                self.push("set", route.set);
                self.push_or("leader", route.leader, "none");
                self.push("term", route.term);
                for (index, (node, address)) in route.nodes.iter().enumerate() {
                    self.push(&format!("node[{index}]"), format!("{node} {address:?}"));
                }
            }
            Reply::Sent(SentReply { durability, sent }) => {
                self.push("durability", durability.text());
                for (index, (first, count)) in sent.runs.iter().enumerate() {
                    self.push(&format!("run[{index}]"), format!("{first} +{count}"));
                }
            }
            Reply::Received(messages) => {
                for (index, message) in messages.iter().enumerate() {
                    self.received(index, message);
                }
            }
            Reply::Deleted(results) | Reply::VisibilityChanged(results) => self.results(results),
            Reply::Admin(admin) => self.push_text("json", &admin.json),
            Reply::Error(error) => {
                self.push("number", error.number);
                self.push(
                    "applied",
                    match error.applied {
                        Applied::No => "no",
                        Applied::Yes => "yes",
                        Applied::Unknown => "unknown",
                    },
                );
                self.push("retry_after_ms", error.retry_after_ms);
                self.push_text("text", &error.text);
            }
            Reply::Authenticated(authenticated) => self.push("now", authenticated.now),
            Reply::Peeked(messages) => {
                for (index, message) in messages.iter().enumerate() {
                    self.peeked(index, message);
                }
            }
            Reply::RedriveBegun(begun) => {
                self.push("job", begun.job);
                self.push("count", begun.count);
            }
            Reply::RedriveShown(status) | Reply::RedriveCancelled(status) => {
                self.redrive_status(status);
            }
            Reply::QueuePurged(count) | Reply::QueueRewound(count) => self.push("count", count),
            Reply::Pong
            | Reply::QueueCreated
            | Reply::QueueChanged
            | Reply::QueueDeleted
            | Reply::Rescheduled => {}
        }
    }

    fn redrive(&mut self, redrive: &Redrive) {
        let filter = &redrive.filter;
        self.push_text("queue", redrive.queue.as_str());
        self.push_text("to", redrive.to.as_str());
        self.push("since", filter.since);
        self.push_or("reason", filter.reason, "any");
        self.push_text("source_queue", &filter.source_queue);
        self.push_text("header_name", &filter.header_name);
        self.push("header_value", hex(&filter.header_value));
        self.push("rate", redrive.rate);
        self.push("is_dry_run", redrive.is_dry_run);
    }

    fn redrive_status(&mut self, status: &RedriveStatus) {
        self.push("job", status.job);
        self.push("state", format!("{:?}", status.state));
        self.push("rate", status.rate);
        self.push("begun_at", status.begun_at);
        self.push_or("ended_at", status.ended_at, "none");
        self.push("looked", status.looked);
        self.push("moved", status.moved);
        self.push("skipped", status.skipped);
        self.push("moving", status.moving);
        self.push_text("to", &status.to);
    }

    fn changes(&mut self, changes: &AttributeChanges) {
        let mut named = |name, value: Option<u64>| {
            if let Some(value) = value {
                self.push(name, value);
            }
        };
        named(
            "visibility_timeout_ms",
            changes.visibility_timeout_ms.map(u64::from),
        );
        named("retention_ms", changes.retention_ms);
        named("delay_ms", changes.delay_ms);
        named("message_size_max", changes.message_size_max.map(u64::from));
        named("receive_wait_ms", changes.receive_wait_ms.map(u64::from));
        named("is_paused", changes.is_paused.map(u64::from));
        named(
            "redelivery_delay_min_ms",
            changes.redelivery_delay_min_ms.map(u64::from),
        );
        named(
            "redelivery_delay_max_ms",
            changes.redelivery_delay_max_ms.map(u64::from),
        );
        named("message_count_max", changes.message_count_max);
        named("in_flight_count_max", changes.in_flight_count_max);
        named("delayed_count_max", changes.delayed_count_max);
        named("dead_letter_queue", changes.dead_letter_queue);
        named(
            "receive_count_max",
            changes.receive_count_max.map(u64::from),
        );
        named("dead_letter_after_ms", changes.dead_letter_after_ms);
        named("dedup_window_ms", changes.dedup_window_ms.map(u64::from));
        named("rewind_ms", changes.rewind_ms);
        named("groups", changes.groups.map(GroupMode::number));
        named(
            "durability",
            changes.durability.map(|value| value.number().into()),
        );
        named("byte_count_max", changes.byte_count_max);
        let drops = |it| u64::from(it == WhenFull::DropOldestToDeadLetter);
        named("when_full", changes.when_full.map(drops));
    }

    fn send(&mut self, send: &Send) {
        if let Some(producer) = send.producer {
            self.push("producer_session", hex(&producer.session.0));
            self.push("producer_number", producer.number);
        }
        self.push_text("queue", send.queue.as_str());
        self.push("batch_flags", u8::from(send.batch.has_delays()));
        for (index, (record, start)) in send.batch.messages(0).enumerate() {
            let prefix = format!("message[{index}].");
            self.push(
                &format!("{prefix}body_crc32c"),
                format!("{:#010x}", record.body_crc32c),
            );
            let delay = Some(record.delay_ms).filter(|ms| *ms != MessageRecord::DELAY_DEFAULT);
            self.push_or(&format!("{prefix}delay_ms"), delay, "queue");
            let end = start + usize::from(record.headers_len);
            self.headers(&prefix, &send.batch.as_bytes()[start..end]);
            self.key(
                &format!("{prefix}group_key"),
                send.batch.group_key(&record, start),
            );
            self.key(
                &format!("{prefix}dedup_key"),
                send.batch.dedup_key(&record, start),
            );
            self.push(
                &format!("{prefix}body"),
                hex(&send.batch.body(index).unwrap()),
            );
        }
        assert_eq!(send.batch.check_bodies(), Ok(()));
    }

    fn received(&mut self, index: usize, message: &ReceivedMessage) {
        let prefix = format!("message[{index}].");
        self.push(&format!("{prefix}id"), message.id);
        self.push(&format!("{prefix}handle"), message.handle);
        self.push(&format!("{prefix}sent_at"), message.sent_at);
        self.push(
            &format!("{prefix}first_received_at"),
            message.first_received_at,
        );
        self.push(&format!("{prefix}visible_at"), message.visible_at);
        self.push(&format!("{prefix}receive_count"), message.receive_count);
        self.push(
            &format!("{prefix}body_crc32c"),
            format!("{:#010x}", message.body_crc32c),
        );
        self.headers(&prefix, &message.headers);
        self.key(&format!("{prefix}group_key"), &message.group_key);
        self.key(&format!("{prefix}dedup_key"), &message.dedup_key);
        self.push(&format!("{prefix}body"), hex(&message.body));
        assert_eq!(message.check_body(), Ok(()));
    }

    fn peeked(&mut self, index: usize, message: &PeekedMessage) {
        let prefix = format!("message[{index}].");
        self.push(&format!("{prefix}id"), message.id);
        self.push(&format!("{prefix}state"), format!("{:?}", message.state));
        self.push(&format!("{prefix}sent_at"), message.sent_at);
        let first_received_at = message.first_received_at;
        self.push_or(
            &format!("{prefix}first_received_at"),
            first_received_at,
            "never",
        );
        self.push_or(&format!("{prefix}ready_at"), message.ready_at, "now");
        self.push(&format!("{prefix}receive_count"), message.receive_count);
        self.headers(&prefix, &message.headers);
        self.push(&format!("{prefix}body"), hex(&message.body));
        assert_eq!(message.check_body(), Ok(()));
    }

    fn headers(&mut self, prefix: &str, bytes: &[u8]) {
        assert_eq!(headers::check(bytes), Ok(()));
        for (name, value) in headers::decode(bytes) {
            self.push(&format!("{prefix}header {name:?}"), hex(value));
        }
    }

    fn key(&mut self, name: &str, key: &[u8]) {
        if !key.is_empty() {
            self.push(name, hex(key));
        }
    }

    fn description(&mut self, description: &QueueDescription) {
        self.push("id", description.id);
        self.push("created_at", description.created_at);
        self.push("set", description.set);
        self.push("ready", description.counts.ready);
        self.push("delayed", description.counts.delayed);
        self.push("in_flight", description.counts.in_flight);
        self.push_or("oldest_at", description.counts.oldest_at, "none");
        self.push_or("due_at", description.counts.due_at, "none");
        self.push_or("visible_at", description.counts.visible_at, "none");
        self.push("moving", description.counts.moving);
        self.push("undeliverable", description.counts.undeliverable);
        self.push("rewindable", description.counts.rewindable);
        self.push("bytes", description.counts.bytes);
        self.push("locked", description.counts.locked);
        self.push_text("name", &description.name);
        self.push_text("dead_letter_queue_name", &description.dead_letter_queue);
        self.changes(&description.attributes.into());
    }

    fn handles(&mut self, handles: &Handles) {
        for (index, handle) in handles.iter().enumerate() {
            self.push(&format!("handle[{index}]"), handle);
        }
    }

    fn results(&mut self, results: &HandleResults) {
        for (place, code) in &results.failures {
            self.push(&format!("failure[{place}]"), code.number());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
