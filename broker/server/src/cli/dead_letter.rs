//! `sampan dead-letter`: redrive, status, cancel.

use sampan_client::{Client, DeathReason, Queue, Redrive, RedriveState, RedriveStatus};
use serde_json::json;

use super::args::{DeadLetterVerb, Format, ReasonArgument, RedriveArguments};
use super::failure::Failure;
use super::output::Output;
use super::queue::rfc3339;

/// Carries out a dead-letter command.
pub(crate) async fn run(
    client: &Client,
    verb: &DeadLetterVerb,
    output: &mut Output,
) -> Result<(), Failure> {
    match verb {
        DeadLetterVerb::Redrive(arguments) => {
            let queue = client.queue(&arguments.name);
            redrive(&queue, arguments, output).await
        }
        DeadLetterVerb::Status { name } => {
            let status = client.queue(name).redrive_status().await?;
            print(&status, output)
        }
        DeadLetterVerb::Cancel { name } => {
            let status = client.queue(name).cancel_redrive().await?;
            print(&status, output)
        }
    }
}

async fn redrive(
    queue: &Queue,
    arguments: &RedriveArguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let redrive = asked(queue, arguments);
    if arguments.dry_run {
        let count = redrive.dry_run().await?;
        return output.either(
            &format!("{count} messages would move"),
            &json!({ "queue": queue.name(), "count": count, "dry_run": true }),
        );
    }
    let job = redrive.begin().await?;
    output.either(
        &format!("redrive {job} of queue {} has begun", queue.name()),
        &json!({ "queue": queue.name(), "job": job, "dry_run": false }),
    )
}

fn asked(queue: &Queue, arguments: &RedriveArguments) -> Redrive {
    let mut redrive = queue.redrive().rate(arguments.rate.unwrap_or(0));
    if let Some(to) = &arguments.to {
        redrive = redrive.to(to);
    }
    if let Some(since) = arguments.since {
        redrive = redrive.since(since);
    }
    if let Some(reason) = arguments.reason {
        redrive = redrive.reason(match reason {
            ReasonArgument::ReceiveCount => DeathReason::ReceiveCount,
            ReasonArgument::Age => DeathReason::Age,
            ReasonArgument::Overflow => DeathReason::Overflow,
        });
    }
    if let Some(source) = &arguments.source {
        redrive = redrive.source(source);
    }
    if let Some((name, value)) = &arguments.header {
        redrive = redrive.header(name, value.clone());
    }
    redrive
}

fn state_name(state: RedriveState) -> &'static str {
    match state {
        RedriveState::Running => "running",
        RedriveState::Done => "done",
        RedriveState::Cancelled => "cancelled",
    }
}

fn print(status: &RedriveStatus, output: &mut Output) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return output.json(&json!({
            "job": status.job,
            "state": state_name(status.state),
            "to": status.to,
            "rate": status.rate,
            "looked": status.looked,
            "moved": status.moved,
            "skipped": status.skipped,
            "moving": status.moving,
            "begun_at_ms": status.begun_at.0,
            "ended_at_ms": status.ended_at.map(|at| at.0),
        }));
    }
    let to = match status.to.as_str() {
        "" => "where each came from",
        to => to,
    };
    let rate = match status.rate {
        0 => "unlimited".to_owned(),
        rate => format!("{rate}/s"),
    };
    let rows = [
        ("job", status.job.to_string()),
        ("state", state_name(status.state).to_owned()),
        ("to", to.to_owned()),
        ("rate", rate),
        ("looked at", status.looked.to_string()),
        ("moved", status.moved.to_string()),
        ("skipped", status.skipped.to_string()),
        ("on their way", status.moving.to_string()),
        ("begun", rfc3339(status.begun_at)),
        ("ended", status.ended_at.map_or("-".to_owned(), rfc3339)),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    output.table(&rows)
}
