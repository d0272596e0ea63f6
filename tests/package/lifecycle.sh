#!/bin/sh
# The life of the Debian package on this machine, of which nothing stays: every file is changed in an
# overlay, and the network is a loopback of its own. Run as root by `package.rs`:
#
#   unshare --mount --net --pid --fork sh lifecycle.sh OLD.deb NEW.deb operations.md
set -eu
old=$(realpath "$1") new=$(realpath "$2")
packages=$(mktemp --directory)
cp "$3" "$packages/operations.md"
cp "$old" "$packages/old.deb"
cp "$new" "$packages/new.deb"

there=$(mktemp --directory)
mount -t tmpfs tmpfs "$there"
mkdir "$there/changed" "$there/work" "$there/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$there/changed,workdir=$there/work" "$there/root"
root=$there/root
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run" # nobody believes that systemd runs here
mount -t tmpfs tmpfs "$root/tmp"
mkdir "$root/tmp/packages"
cp "$packages"/*.deb "$root/tmp/packages"
cp "$packages/operations.md" "$root/tmp"
rm -r "$packages"
ip link set lo up 2>/dev/null || chroot "$root" sh -c 'command -v ifconfig >/dev/null && ifconfig lo up'

cat > "$root/tmp/life" <<'LIFE'
set -eu
export DEBIAN_FRONTEND=noninteractive HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset AWS_ENDPOINT_URL AWS_PROFILE AWS_ACCESS_KEY_ID STRONGROOM_KMSD 2>/dev/null || true
unit=/usr/lib/systemd/system/strongroom.service
data=/var/lib/strongroom

fail() { echo "FAILED: $*"; exit 1; }

cat > /tmp/unit <<'UNIT'
value() { sed -n "s/^$1=//p" /usr/lib/systemd/system/strongroom.service; }

# Runs the unit's command as the unit does.
run_unit() {
    exec setpriv --reuid "$(value User)" --regid "$(value Group)" --init-groups --no-new-privs \
        --bounding-set=-all --inh-caps=-all \
        sh -c "umask $(value UMask); exec $(value ExecStart)" >> /tmp/log 2>&1
}
UNIT
. /tmp/unit

start() {
    : > /tmp/log
    run_unit &
    daemon=$!
    until grep -q '^listening on ' /tmp/log; do
        kill -0 $daemon || { cat /tmp/log; fail "the unit's command ends"; }
        sleep 0.1
    done
    # In the error stream is what it could not protect.
    kmsctl status > /tmp/status || { cat /tmp/status /tmp/log; fail "it is not ready"; }
    [ "$(stat -c %U /proc/$daemon)" = strongroom ] || fail "it runs as $(stat -c %U /proc/$daemon)"
}

stop() {
    kill -TERM $daemon
    wait $daemon || { cat /tmp/log; fail "it ends with $?"; }
}

echo "--- installation"
dpkg --install /tmp/packages/old.deb
[ "$(stat -c '%U:%G %a' $data)" = 'strongroom:strongroom 700' ] || fail "$(ls -ld $data)"
getent passwd strongroom | grep -q ':/usr/sbin/nologin$' || fail "$(getent passwd strongroom)"
dpkg --verify strongroom || fail "files differ from the package"
kmsd --version; kmsctl --version
[ -z "$(find /usr/bin/kmsd /usr/bin/kmsctl $unit -not -user root)" ] || fail "files of another owner"

echo "--- unit"
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify --man=no $unit || fail "systemd does not take the unit"
    systemd-analyze security --offline=true --no-pager --threshold=20 $unit | tail -n 1
    systemd-analyze security --offline=true --no-pager --threshold=20 $unit >/dev/null ||
        fail "the unit is exposed more than 2.0"
else
    echo "SKIPPED: no systemd-analyze, which would check the unit"
fi

echo "--- manual and completions"
for page in man1/kmsctl man1/kmsctl-hsm-provision man8/kmsd; do
    zcat /usr/share/man/$page.${page#man?/*}* 2>/dev/null || zcat /usr/share/man/$page.*.gz
done | grep -c '^\.TH' | grep -qx 3 || fail "a page of the manual is missing"
complete=$(bash -c '. /usr/share/bash-completion/completions/kmsctl
    COMP_WORDS=(kmsctl hsm prov); COMP_CWORD=2; _kmsctl kmsctl prov hsm; echo "${COMPREPLY[*]}"')
[ "$complete" = provision ] || fail "bash completes to '$complete'"

echo "--- start"
echo '# a line of the administrator' >> /etc/strongroom/kmsd.toml
start
kmsctl iam user create ana --data $data
[ -z "$(find $data ! -user strongroom)" ] || fail "files of another owner in $data"
[ -z "$(find $data -perm /077)" ] || fail "others may look: $(find $data -perm /077)"
stop

echo "--- operations"
# An administrator, who may become anybody by sudo, and what stands in for that and for systemd.
useradd --create-home --shell /bin/bash admin
sed -i '1i auth sufficient pam_permit.so' /etc/pam.d/su
cat > /usr/local/bin/sudo <<'SUDO'
#!/bin/bash
[ "$(id -un)" = admin ] || { echo "$(id -un) is not in the sudoers file." >&2; exit 1; }
user=root
if [ "$1" = -u ]; then user=$2; shift 2; fi
exec su --shell /bin/bash --command 'exec setpriv --reuid "$0" --regid "$0" --init-groups \
    env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ "$@"' -- root "$user" "$@"
SUDO
cat > /usr/local/bin/systemctl <<'SYSTEMCTL'
#!/bin/bash
. /tmp/unit
[ "$(id -un)" = root ] && [ "${*: -1}" = strongroom ] || exit 4
alive() { grep -s '^State:' "/proc/$(cat /run/strongroom.pid)/status" | grep -qv Z; }
case "$1" in
start|enable)
    : > /tmp/log
    (run_unit) &
    echo $! > /run/strongroom.pid
    until grep -q '^listening on ' /tmp/log; do alive || exit 1; sleep 0.1; done ;;
stop|disable)
    kill -TERM "$(cat /run/strongroom.pid)"
    while alive; do sleep 0.1; done ;;
*) exit 4 ;;
esac
SYSTEMCTL
chmod 755 /usr/local/bin/sudo /usr/local/bin/systemctl
by_admin() {
    setpriv --reuid admin --regid admin --init-groups env -i HOME=/home/admin \
        PATH=/usr/local/bin:/usr/bin:/bin bash -euo pipefail -c "cd; $1"
}
# The commands of the page under a heading; what comes before the first one has none.
lines() {
    awk -v wanted="$1" '/^## / { heading = substr($0, 4) } /^```/ { typed = $0 == "```console"; next }
        typed && heading == wanted && /^\$ / { print substr($0, 3) }' /tmp/operations.md
}
once=$(lines "")
[ -n "$once" ] || fail "the page says nothing once for all"
follow() {
    # Of a log that a daemon is writing, the end is not proven yet.
    commands=$(lines "$1" | sed '/^kmsctl audit verify /s/$/ || test $? = 3/')
    [ -n "$commands" ] || fail "nothing is typed under '$1'"
    by_admin "$once
set -x
$commands" > /tmp/said 2>&1 || { cat /tmp/said /tmp/log; fail "what the page says under '$1' does not work"; }
}
secret=/etc/strongroom/backup.passphrase
if by_admin 'sudo true'; then
    follow 'Once: a passphrase for backups'
    [ "$(stat -c '%U:%G %a %s' $secret)" = 'strongroom:strongroom 600 33' ] || fail "$(ls -l $secret)"
    ! by_admin "cat $secret" 2>/dev/null || fail "the administrator reads it without sudo"
    ! by_admin "cat $data/credentials" 2>/dev/null || fail "the administrator reads data without sudo"
    ! by_admin 'sudo -u strongroom sudo true' 2>/dev/null || fail "the service's user is an administrator"
    by_admin 'sudo systemctl start strongroom'
    follow 'How are we?'
    for _ in $(seq 600); do grep -qs '"kind":"checkpoint"' $data/audit/*.jsonl && break; sleep 0.1; done
    follow 'Once: a trust anchor for the audit log'
    follow 'Back up'
    follow 'Check a backup'
    [ "$(stat -c '%U %a' /backup/strongroom.1)" = 'strongroom 600' ] || fail "$(ls -l /backup)"
    follow 'Restore'
    by_admin "$once
kmsctl iam user show ana --data $data"
    by_admin 'sudo systemctl stop strongroom'
    [ -z "$(find $data ! -user strongroom)" ] || fail "files of another owner in $data"
    [ -z "$(find $data -perm /077)" ] || fail "others may look: $(find $data -perm /077)"
else
    echo "SKIPPED: nobody becomes root by su here: the page of operations on the package"
fi
rm /usr/local/bin/sudo /usr/local/bin/systemctl

echo "--- upgrade"
before=$(dpkg-query -W -f '${Version}' strongroom)
dpkg --install /tmp/packages/new.deb
after=$(dpkg-query -W -f '${Version}' strongroom)
dpkg --compare-versions "$after" gt "$before" || fail "$after after $before"
grep -q '^# a line of the administrator$' /etc/strongroom/kmsd.toml || fail "the settings are gone"
start
kmsctl iam user show ana --data $data
stop

echo "--- removal"
dpkg --remove strongroom
[ ! -e /usr/bin/kmsd ] && [ ! -e $unit ] || fail "programs are left"
[ -e /etc/strongroom/kmsd.toml ] || fail "settings are removed with the package"
[ -e $data/store.redb ] || fail "keys are removed with the package"
dpkg --purge strongroom | tee /tmp/said
[ ! -e /etc/strongroom/kmsd.toml ] || fail "settings are left"
[ -e $data/store.redb ] || fail "keys are removed"
grep -q "stay in $data" /tmp/said || fail "nobody is told that keys are left"

echo "--- the same again"
dpkg --install /tmp/packages/new.deb
start
kmsctl iam user show ana --data $data
stop
echo "--- done"
LIFE
exec chroot "$root" sh /tmp/life
