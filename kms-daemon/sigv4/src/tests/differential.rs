//! The verifier against the AWS signer, with random requests; and against everybody else.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Sent {
    request: Request,
    service: SigningService,
    session: Option<Session>,
}

prop_compose! {
    fn sent()(
        method in "GET|POST|PUT|DELETE|PATCH|[A-Z]{1,8}",
        path in "(/([a-zA-Z0-9._~:@!$'()*,;=-]|%[0-9A-F]{2}){0,6}){1,4}",
        query in proptest::option::of(
            // The signer takes a plus for a space, and escapes for UTF-8.
            "([a-zA-Z0-9._~:@!$'()*,;/?-]|%[0-7][0-9A-F]){1,4}(=([a-zA-Z0-9._~-]|%[0-7][0-9A-F]){0,4})?\
             (&[a-b]{1,2}=[a-bA-B0-1-]{0,2}){0,4}"
        ),
        extra in proptest::collection::vec(
            ("(x-amz-m-|amz-sdk-|m)[a-b]{1,2}", "[!-~]([ -~\t]{0,20}[!-~])?"),
            0..5,
        ),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        token in proptest::option::of("[a-zA-Z0-9+/=]{1,100}"),
        service in prop::sample::select(
            &[SigningService::KMS, SigningService::STS, SigningService::IAM][..]
        ),
        is_http2 in any::<bool>(),
        declare in any::<bool>(),
        host in "[a-z]{1,5}(\\.[a-z]{2,5})?(:[1-9][0-9]{1,3})?",
    ) -> Sent {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(&host).unwrap());
        for (name, value) in &extra {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let (time, key) = (at(SUITE_TIME), (ID, SECRET));
        let signing = Signing {
            method: &method, target: &target, service: service.name(), key,
            token: token.as_deref(), time, declare,
        };
        sign_with(&mut headers, &body, signing);
        let mut request = Request::new(&method, &target, headers, &body);
        if is_http2 {
            request.headers.remove("host");
            request.authority = Some(host);
        }
        let digest = token.map(|token| TokenDigest::of(token.as_bytes()));
        let session = digest.map(|digest| Session::new(digest, at(SUITE_TIME + 1)));
        Sent { request, service, session }
    }
}

fn outcome(sent: &Sent) -> Result<(), KmsError> {
    verifier().authenticate(&sent.request, sent.service, at(SUITE_TIME), sent.session)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn agrees_with_the_aws_signer(sent in sent()) {
        prop_assert_eq!(outcome(&sent).map_err(|error| error.to_string()), Ok(()));
    }

    #[test]
    fn a_changed_request_never_verifies(
        sent in sent(),
        kind in 0..7,
        place in any::<prop::sample::Index>(),
        bit in 0..7,
    ) {
        let mut changed = sent.clone();
        let request = &mut changed.request;
        let flip = |byte: &mut u8| *byte ^= 1u8 << bit;
        match kind {
            0 => request.body.insert(place.index(request.body.len() + 1), 1u8 << bit),
            1 if !request.body.is_empty() => {
                let at = place.index(request.body.len());
                flip(&mut request.body[at]);
            }
            2 => request.method.push('X'),
            3 => request.path.push('x'),
            4 => request.query = Some(format!("{}&x=y", request.query.clone().unwrap_or_default())),
            5 => changed.service = match changed.service {
                SigningService::KMS => SigningService::STS,
                _ => SigningService::KMS,
            },
            _ => {
                // Change a byte of one header value, unless the result is not a header value.
                let names: Vec<_> = request.headers.keys().cloned().collect();
                let name = &names[place.index(names.len())];
                let mut value = request.headers[name].as_bytes().to_vec();
                let at = place.index(value.len());
                flip(&mut value[at]);
                let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
                // White space at the ends, runs of it, and case of hexadecimal digits carry nothing.
                let same = |a: &[u8], b: &[u8]| {
                    let words = |v: &[u8]| v.split(|c| *c == b' ' || *c == b'\t')
                        .filter(|w| !w.is_empty()).map(<[u8]>::to_ascii_lowercase).collect::<Vec<_>>();
                    words(a) == words(b)
                };
                prop_assume!(!same(value.as_bytes(), request.headers[name].as_bytes()));
                request.headers.insert(name.clone(), value);
            }
        }
        prop_assert!(outcome(&changed).is_err());
    }

    #[test]
    fn arbitrary_authorization_never_panics(
        value in "(AWS4-HMAC-SHA256 ?)?[ -~é]{0,200}",
        query in proptest::option::of("[ -~é]{0,60}"),
        path in "[ -~é]{0,60}",
    ) {
        let mut request = Request::plain();
        request.path = path;
        request.query = query;
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            request.headers.insert("authorization", value);
        }
        prop_assert!(verify(&request).is_err());
    }
}
