use super::*;

const RATE: u32 = 50;
/// What a sample takes here.
const SAMPLE: usize = 1000;

fn refused(address: IpAddr) -> Refused<'static> {
    Refused {
        why: Why::Unverified,
        address,
        code: "MissingAuthenticationTokenException",
        service: "kms.amazonaws.com",
        place: ("000000000000", "us-east-1"),
        time: SystemTime::UNIX_EPOCH,
    }
}

fn source(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x7f00_0000 + number).into()
}

/// What the log tells of requests.
#[derive(Debug, Default)]
struct Told {
    whole: u64,
    counted: u64,
    summaries: usize,
    bytes: usize,
    throttled: u64,
}

impl Told {
    fn summaries(&mut self, summaries: &[Value]) {
        for summary in summaries {
            self.counted += summary["serviceEventDetails"]["requests"].as_u64().unwrap();
            self.summaries += 1;
            // Its line has as much again as a line has besides its body.
            let length = summary.to_string().len() + 300;
            assert!(length < SUMMARY, "{length}: {summary}");
            self.bytes += length;
        }
    }

    fn take(&mut self, admission: &Admission) {
        self.whole += u64::from(admission.whole);
        self.bytes += if admission.whole { SAMPLE } else { 0 };
        self.throttled += u64::from(admission.throttled);
        self.summaries(&admission.summaries);
    }
}

fn flood(table: &mut Strangers, told: &mut Told, from: u32, requests: u64, now: Instant) {
    for _ in 0..requests {
        told.take(&table.admit(&refused(source(from)), now, || SAMPLE));
    }
}

#[test]
fn the_sums_are_exact_and_a_crash_loses_no_more_than_is_told() {
    let (mut table, mut told) = (Strangers::new(RATE), Told::default());
    let now = Instant::now();
    for sent in 1..=20_000 {
        flood(&mut table, &mut told, 1, 1, now);
        let known = told.whole + told.counted;
        assert!(known <= sent && sent - known <= known, "{known} of {sent} are told");
    }
    assert_eq!((told.whole, told.counted), (10, 20_470 / 2 - 5), "20, 40, … 10,240");
    assert_eq!(told.throttled, 20_000 - 3_000);
    told.summaries(&table.close());
    assert_eq!(told.whole + told.counted, 20_000);
    assert_eq!(told.summaries, 11);
    assert!(told.bytes < 32 << 10, "{}", told.bytes);
}

#[test]
fn a_flood_that_goes_on_costs_little() {
    let (mut table, begin) = (Strangers::new(RATE), Instant::now());
    flood(&mut table, &mut Told::default(), 1, 20_000, begin);
    for minute in 1..10_u32 {
        let mut told = Told::default();
        let now = begin + WINDOW * minute;
        let ended = table.end_window(now);
        assert_eq!(ended.len(), 1);
        flood(&mut table, &mut told, 1, 20_000, now);
        assert_eq!((told.whole, told.summaries), (1, 0), "as many were told of the minute before");
        assert!(told.bytes < 3 << 10, "{}", told.bytes);
    }
    // After a quiet minute its requests are looked at again.
    table.end_window(begin + WINDOW * 11);
    table.admit(&refused(source(2)), begin + WINDOW * 11, || SAMPLE);
    table.end_window(begin + WINDOW * 12);
    let mut told = Told::default();
    flood(&mut table, &mut told, 1, 100, begin + WINDOW * 12);
    assert_eq!(told.whole, SAMPLES);
}

#[test]
fn many_sources_have_bounds_together() {
    for (sources, each) in [(200, 100), (64, 20_000), (5_000, 3), (3, 5)] {
        let (mut table, mut told) = (Strangers::new(RATE), Told::default());
        let now = Instant::now();
        for _ in 0..each {
            (0..sources).for_each(|from| flood(&mut table, &mut told, from, 1, now));
        }
        told.summaries(&table.close());
        assert_eq!(told.whole + told.counted, u64::from(sources) * each);
        assert!(told.bytes < 256 << 10, "{sources} sources: {}", told.bytes);
        assert!(table.tallies.capacity() < 4 * SOURCES && table.before.len() <= SOURCES + 2);
    }
}

#[test]
fn others_lose_no_more_than_is_told_either() {
    let (mut table, mut told) = (Strangers::new(RATE), Told::default());
    let now = Instant::now();
    let mut untold_at_most = 0;
    for sent in 1..=50_000_u32 {
        flood(&mut table, &mut told, sent % 1000, 1, now);
        let known = told.whole + told.counted;
        untold_at_most = untold_at_most.max(u64::from(sent) - known);
        // Ten of each source are not worth a record.
        let small = SAMPLES * (SOURCES as u64 + 1);
        assert!(u64::from(sent) - known <= known + small, "{known} of {sent}");
    }
    assert!(untold_at_most > 0);
    told.summaries(&table.close());
    assert_eq!(told.whole + told.counted, 50_000);
}

#[test]
fn a_summary_says_whence_what_and_when() {
    let mut table = Strangers::new(1);
    let now = Instant::now();
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160 + seconds);
    let addresses = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:ffff::"];
    for second in 0..90_u64 {
        let address = addresses[usize::try_from(second % 3).unwrap()].parse().unwrap();
        let code = if second < 80 { "MissingAuthenticationTokenException" } else { "X" };
        let service = if second == 89 { "sts.amazonaws.com" } else { "kms.amazonaws.com" };
        let request = Refused { code, service, time: at(second), ..refused(address) };
        table.admit(&request, now, || SAMPLE);
    }
    let [last] = &table.close()[..] else { panic!("one source") };
    assert_eq!(last["eventType"], "AwsServiceEvent");
    assert_eq!(last["eventName"], "UnauthenticatedRequests");
    assert_eq!(last["sourceIPAddress"], "2001:db8::/64");
    assert_eq!(last["recipientAccountId"], "000000000000");
    // 80 were told at the 80th; of the rest, those beyond 60 were throttled.
    let details = json!({
        "requests": 10,
        "errorCodes": { "X": 10 },
        "eventSources": { "kms.amazonaws.com": 9, "sts.amazonaws.com": 1 },
        "throttled": 10,
        "firstEventTime": "2015-08-30T12:37:20Z",
        "lastEventTime": "2015-08-30T12:37:29Z",
    });
    assert_eq!(last["serviceEventDetails"], details);
    let mapped = Source::of("::ffff:192.0.2.1".parse().unwrap());
    assert_eq!(mapped.to_string(), "192.0.2.1");
}

/// Whoever asks for services of any name makes no summary of any length.
#[test]
fn services_are_bounded() {
    let mut table = Strangers::new(RATE);
    let now = Instant::now();
    let services: Vec<String> = (0..30).map(|number| format!("s{number}.amazonaws.com")).collect();
    for service in services.iter().cycle().take(2000) {
        let admission = table.admit(&Refused { service, ..refused(source(1)) }, now, || SAMPLE);
        Told::default().take(&admission);
    }
    let last = table.close();
    let services = last[0]["serviceEventDetails"]["eventSources"].as_object().unwrap();
    assert_eq!(services.len(), SERVICES + 1);
    let sum: u64 = services.values().filter_map(Value::as_u64).sum();
    assert_eq!(last[0]["serviceEventDetails"]["requests"], sum);
}

#[test]
fn error_codes_are_bounded() {
    let mut table = Strangers::new(RATE);
    let now = Instant::now();
    let codes: Vec<String> = (0..30).map(|number| format!("{number}{}", "C".repeat(40))).collect();
    for code in codes.iter().cycle().take(2000) {
        let admission = table.admit(&Refused { code, ..refused(source(1)) }, now, || SAMPLE);
        Told::default().take(&admission);
    }
    let last = table.close();
    let codes = last[0]["serviceEventDetails"]["errorCodes"].as_object().unwrap();
    assert_eq!(codes.len(), CODES + 1);
    let sum: u64 = codes.values().filter_map(Value::as_u64).sum();
    assert_eq!(last[0]["serviceEventDetails"]["requests"], sum);
}

#[test]
fn without_room_nothing_is_recorded_whole() {
    let (mut table, mut told) = (Strangers::new(1), Told::default());
    for _ in 0..1000 {
        let request = Refused { why: Why::NoRoom, ..refused(source(1)) };
        told.take(&table.admit(&request, Instant::now(), || SAMPLE));
    }
    told.summaries(&table.close());
    assert_eq!((told.whole, told.counted, told.throttled), (0, 1000, 0));
}
