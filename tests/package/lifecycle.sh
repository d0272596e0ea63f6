#!/bin/sh
# The life of the Debian package on this machine, of which nothing stays: every file is changed in an
# overlay, and the network is a loopback of its own. Run as root by `package.rs`:
#
#   unshare --mount --net --pid --fork sh lifecycle.sh OLD.deb NEW.deb
set -eu
old=$(realpath "$1") new=$(realpath "$2")
packages=$(mktemp --directory)
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
rm -r "$packages"
ip link set lo up 2>/dev/null || chroot "$root" sh -c 'command -v ifconfig >/dev/null && ifconfig lo up'

cat > "$root/tmp/life" <<'LIFE'
set -eu
export DEBIAN_FRONTEND=noninteractive HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset AWS_ENDPOINT_URL AWS_PROFILE AWS_ACCESS_KEY_ID STRONGROOM_KMSD 2>/dev/null || true
unit=/usr/lib/systemd/system/strongroom.service
data=/var/lib/strongroom

fail() { echo "FAILED: $*"; exit 1; }
value() { sed -n "s/^$1=//p" $unit; }

# Runs the unit's command as the unit does.
start() {
    user=$(value User)
    : > /tmp/log
    setpriv --reuid "$user" --regid "$(value Group)" --init-groups --no-new-privs \
        --bounding-set=-all --inh-caps=-all \
        sh -c "umask $(value UMask); exec $(value ExecStart)" >> /tmp/log 2>&1 &
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
