//! How the program is run, by environment variables.

use super::fault::Fault;

const ROUNDS: &str = "SAMPAN_FAULT_ROUNDS";
const SEED: &str = "SAMPAN_TEST_SEED";
const ONLY: &str = "SAMPAN_FAULT_ONLY";
const NODES: &str = "SAMPAN_FAULT_NODES";
const SECONDS: &str = "SAMPAN_FAULT_SECONDS";
const RATE: &str = "SAMPAN_FAULT_RATE";
/// What takes a few minutes.
const ROUND_COUNT: u64 = 10;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) round_count: u64,
    /// Of the first round; each further round has the next number.
    pub(crate) seed: u64,
    /// The kinds of faults that come in turn.
    pub(crate) faults: Vec<Fault>,
    pub(crate) node_count: u64,
    /// Load before, during and after each fault.
    pub(crate) load_seconds: u64,
    /// Messages a second.
    pub(crate) rate: u32,
}

impl Options {
    /// By the variables of this process.
    pub(crate) fn from_env() -> Options {
        let options = Options::from_variables(|name| std::env::var(name).ok());
        options.unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Options, String> {
        let number = |name: &str, default: u64| match variable(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("{name}={text} is no number")),
        };
        let node_count = number(NODES, 3)?;
        let fits = |fault: &Fault| {
            (cfg!(feature = "simulation") || !fault.needs_simulation())
                && (node_count > 1 || fault.fits_single_node())
        };
        let faults = match variable(ONLY) {
            None => Fault::ALL.to_vec(),
            Some(names) => names.split(',').map(fault).collect::<Result<_, _>>()?,
        };
        let faults: Vec<Fault> = faults.into_iter().filter(fits).collect();
        if faults.is_empty() {
            return Err("no fault is left that fits this build and these nodes".to_owned());
        }
        let rate = number(RATE, 800)?;
        Ok(Options {
            round_count: number(ROUNDS, ROUND_COUNT)?,
            seed: number(SEED, u64::from(rand::random::<u32>()))?,
            faults,
            node_count,
            load_seconds: number(SECONDS, 5)?,
            rate: u32::try_from(rate).map_err(|_| format!("{RATE}={rate} is too much"))?,
        })
    }

    /// The command that repeats one round.
    pub(crate) fn repeat(&self, fault: Fault, seed: u64) -> String {
        let features = if cfg!(feature = "simulation") {
            " --features simulation"
        } else {
            ""
        };
        let name = fault.name().replace(' ', "-");
        format!(
            "{SEED}={seed} {ONLY}={name} {ROUNDS}=1 {NODES}={} {SECONDS}={} {RATE}={} cargo test \
             -p sampan{features} --test faults -- --include-ignored --nocapture no_fault",
            self.node_count, self.load_seconds, self.rate
        )
    }
}

fn fault(name: &str) -> Result<Fault, String> {
    Fault::by_name(name).ok_or_else(|| {
        let names = Fault::ALL.map(|fault| fault.name().replace(' ', "-"));
        format!("{ONLY}: no fault {name:?}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<Options, String> {
        Options::from_variables(|name| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_named_is_taken_and_the_rest_has_defaults() {
        let options = options(&[(ROUNDS, "200"), (SEED, "7"), (ONLY, "kill-leader,drain")]);
        let options = options.expect("good variables");
        assert_eq!(
            (options.round_count, options.seed, options.node_count),
            (200, 7, 3)
        );
        assert_eq!(options.faults, [Fault::KillLeader, Fault::Drain]);
        let command = options.repeat(Fault::KillLeader, 9);
        assert!(command.contains("SAMPAN_TEST_SEED=9"), "{command}");
        // With the feature the test is not ignored, without it is.
        assert!(
            command.ends_with("--include-ignored --nocapture no_fault"),
            "{command}"
        );
    }

    #[test]
    fn a_single_node_gets_only_what_fits_it() {
        let options = options(&[(NODES, "1")]).expect("good variables");
        assert!(options.faults.contains(&Fault::KillAll));
        assert!(!options.faults.contains(&Fault::IsolateLeader));
    }

    #[test]
    fn wrong_variables_are_told() {
        for (name, value) in [(ROUNDS, "many"), (ONLY, "rain"), (RATE, "99999999999")] {
            assert!(options(&[(name, value)]).is_err(), "{name}={value}");
        }
        assert!(options(&[(NODES, "1"), (ONLY, "drain")]).is_err());
    }
}
