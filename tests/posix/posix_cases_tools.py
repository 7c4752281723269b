"""Cases about the shell and the usual tools."""

import os
import subprocess

from tests.posix.posix_kit import case


def shell(log, label, script):
    """Runs a script with sh; logs status and output."""
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        check=False,
    )
    log(label, (done.returncode, done.stdout.decode(errors="replace")))


@case
def redirections(log):
    for label, script in (
        ("two in turn", "(echo a > f; echo b > f); cat f"),
        ("one for a group", "{ echo a; echo b; echo c; } > f; cat f"),
        ("a child's part", "{ echo a; /bin/echo b; (echo c; /bin/echo d); } > f; cat f"),
        ("append", "echo e >> f; /bin/echo g >> f; cat f"),
        ("here-document", "cat > f <<END\none\ntwo $((1 + 1))\nEND\ncat f"),
        ("noclobber", "set -C; echo x > f; cat f; echo y >| f; cat f; echo z > new; cat new"),
        ("empty", ": > f; wc -c < f"),
        ("read and write", "echo 12345 > f; printf ab 1<> f; cat f"),
        ("both", "{ echo out; echo err >&2; } > f 2>&1; cat f"),
        ("from itself", "echo abc > f; cat f | tr a-c x-z > g; mv g f; cat f"),
        ("in the background", "(echo late > h) & wait; cat h"),
        ("many", "for i in 1 2 3 4 5 6 7 8 9; do echo $i > f; read x < f; echo $x; done"),
        ("many appends", "for i in $(seq 100); do echo $i >> i; done; md5sum < i"),
        ("pipes", "seq 1000 | sort -n | tee t | wc -l; wc -l < t"),
        ("a directory", "echo x > .; echo $?"),
        ("no such directory", "echo x > none/f; echo $?"),
        ("descriptor 3", "exec 3> k; echo a >&3; cat k; echo b >&3; exec 3>&-; cat k"),
        ("test -nt", "echo > old; touch -d 2001-01-01 old; [ f -nt old ] && echo newer"),
        ("umask", "umask 077; echo x > private; ls -l private | cut -c1-10"),
    ):
        shell(log, label, script)


@case
def usual_tools(log):
    for label, script in (
        ("prepare", "mkdir -p a/b/c && seq 100 > a/f && seq 50 > a/b/g && ln -s f a/s; ls -R"),
        ("mkdir -p again", "mkdir -p a/b/c/d/e a/b; echo $?"),
        ("sed -i", "sed -i s/1/ONE/ a/f; head -3 a/f; ls a"),
        ("sed -i.bak", "sed -i.bak 2d a/b/g; wc -l a/b/*"),
        ("cp -a", "touch -d 2001-02-03T04:05:06.789 a/f; cp -a a copy; stat -c %y copy/f"),
        ("diff", "diff -r a copy; echo $?"),
        ("cp --sparse", "truncate -s 1M holes; cp --sparse=always holes h2; stat -c '%s %b' h2"),
        ("cp -l", "cp -al a links; stat -c %h a/f links/f"),
        ("cp -u", "cp -u a/f copy/f; cp --backup a/b/g copy/f; ls copy"),
        ("mv", "mv copy moved; mv -n a/f moved/f; mv moved/b/g moved/s; ls -R moved"),
        ("mv over", "mv -f moved/s a/b/g; mv a/b moved 2>&1; echo $?"),
        ("mv into", "mv a/b/c moved/; ls moved"),
        ("install", "install -m 640 -D a/f inst/x/y; stat -c %a inst/x/y inst/x"),
        ("install -d", "install -d -m 700 inst/z; stat -c %a inst/z"),
        ("ln -sf", "ln -sf one s; ln -sf two s; readlink s"),
        ("ln -sfn", "ln -sfn a t; ln -sfn moved t; readlink t"),
        ("ln -f", "echo 1 > l1; echo 2 > l2; ln -f l1 l2; cat l2; stat -c %h l1"),
        ("truncate", "truncate -s 10 a/f; wc -c < a/f; truncate -s +5 a/f; wc -c < a/f"),
        ("seq", "seq 1000 > d; md5sum d"),
        ("dd", "dd if=/dev/zero of=d bs=10 count=2 seek=3 conv=notrunc 2>&-; md5sum d"),
        ("dd truncating", "dd if=/dev/zero of=d bs=10 count=2 seek=3 2>&-; wc -c < d"),
        ("dd append", "echo x | dd of=d oflag=append conv=notrunc 2>&-; wc -c < d"),
        ("dd sync", "dd if=/dev/zero of=d bs=512 count=2 oflag=sync,direct 2>&-; wc -c < d"),
        ("dd sparse", "dd if=/dev/zero of=e bs=4k count=9 conv=sparse 2>&-; stat -c '%s %b' e"),
        ("touch", "touch -d 1980-01-02T03:04:05.123456789 d; stat -c %y d; touch -c no; ls no"),
        ("touch -r", "touch -r d e; stat -c %y e; touch -a -d 1990-05-05 e; stat -c '%x %y' e"),
        ("touch -h", "touch -h -d 1985-05-05 s; stat -c %y s"),
        ("find -newer", "touch -d 2000-01-01 mark; find . -type f ! -newer mark | sort"),
        ("find -size", "find . -empty | sort; find . -links 3 | sort; find . -name 'f*' | sort"),
        ("find -delete", "mkdir -p junk/1/2; touch junk/1/x; find junk -delete; ls junk 2>&1"),
        ("chmod -R", "chmod -R u=rwX,go= a; find a | sort | xargs stat -c '%n %a %F'"),
        ("tar", "tar -cf t.tar a moved && mkdir out && tar -C out -xpf t.tar && diff -r a out/a"),
        ("tar sparse", "tar -Scf s.tar holes && tar -C out -xf s.tar; stat -c '%s %b' out/holes"),
        ("tar over", "tar -C out -xpf t.tar; echo $?; rm *.tar"),
        ("gzip", "gzip -k a/b/g.bak; gzip -t a/b/g.bak.gz; zcat a/b/g.bak.gz | md5sum"),
        ("sort -o", "seq 20 > so; sort -rn -o so so; head -2 so"),
        ("split", "seq 100 > sp; split -l 30 sp part; wc -l part* ; cat part* | cmp - sp"),
        ("mktemp", "t=$(mktemp -p . XXXX.tmp); stat -c %a $t; rm $t"),
        ("mktemp -d", "t=$(mktemp -d -p .); stat -c %a $t; rmdir $t"),
        ("shred", "echo secret > se; shred -u se; ls se 2>&1"),
        ("mkfifo", "mkfifo pipe; (echo through > pipe) & cat pipe; wait; rm pipe"),
        ("stat", "stat -c '%F %A %h %s' a a/f s"),
        ("du", "du -b --apparent-size a/f; du --inodes a/b"),
        ("cmp", "cmp a/f out/a/f; echo $?; cmp so sp; echo $?"),
        ("rm", "rm p none 2>&1; rm a 2>&1; rm -f none; rmdir a 2>&1; echo $?"),
        ("rm -rf", "rm -rf out links inst; ls -a"),
        ("flock", "flock lockfile echo locked; flock -n lockfile true; echo $?"),
        ("xargs", "seq 200 | xargs -P 4 -I{} sh -c 'echo {} > x{}'; cat x* | sort -n | md5sum"),
        ("glob", "echo x1?; rm x*"),
        ("rsync", "rsync -aHAX --delete a/ mirror; rsync -aHAXin --delete a/ mirror; ls -R mirror"),
        ("rsync --inplace", "seq 3 > a/new; rsync -a --inplace a/ mirror; cat mirror/new"),
    ):
        shell(log, label, script)


@case
def editors_and_databases(log):
    for label, script in (
        ("backup and rename", "echo 1 > f; ln f f~; echo 2 > .f.new; mv .f.new f; cat f f~"),
        ("write, sync, rename", "echo 3 > t; sync t; mv t f; sync .; cat f"),
        ("python", "python3 -c \"open('g', 'w').write('py'); print(open('g').read())\""),
        ("log rotation", "echo 1 > log; mv log log.1; echo 2 > log; cat log.1 log"),
        ("held while rotated", "exec 4> log; mv log log.2; echo held >&4; exec 4>&-; cat log.2"),
        ("lock directory", "mkdir lock && ! mkdir lock 2>/dev/null && rmdir lock && echo locked"),
        ("symlink lock", "ln -s $$ .lock && ! ln -s 1 .lock 2>/dev/null && rm .lock && echo once"),
        ("git", "git init -q r && cd r && git -c user.name=a -c user.email=a@b commit -q"
                " --allow-empty -m x && git fsck 2>&1; rm -rf ../r"),
        ("unlinked by the shell", "exec 5<> tmp; rm tmp; echo kept >&5; cat /proc/self/fd/5"),
    ):
        shell(log, label, script)
    log("left", sorted(os.listdir(".")))
