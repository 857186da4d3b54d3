#!/bin/sh
# Makes what `docker compose up` needs and no repository can hold: secrets/ and .env. What is there already is kept.
#   sh deploy/docker/prepare.sh [valkey|rabbitmq] [gpu|cpu]
set -eu
cd "$(dirname "$0")/../.."
broker=${1:-valkey}
device=${2:-gpu}
case $broker in
    valkey | rabbitmq) ;;
    *) echo "The broker is valkey or rabbitmq, not $broker." >&2; exit 2 ;;
esac
case $device in
    gpu | cpu) ;;
    *) echo "Models run on gpu or cpu, not on $device." >&2; exit 2 ;;
esac

# The folder keeps others of this machine out; the files are read in containers, under another account.
mkdir -p -m 0700 secrets
mkdir -p weights

make_random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
keep() { if [ ! -e "secrets/$1" ]; then printf '%s\n' "$2" > "secrets/$1"; chmod 0444 "secrets/$1"; fi; }
read_secret() { cat "secrets/$1"; }

keep postgres_password "$(make_random 24)"
keep broker_password "$(make_random 24)"
keep ctclip_storage_access_key "ctclip-$(make_random 6)"
keep ctclip_storage_secret_key "$(make_random 24)"
# Whoever loses these two can neither recognise patients of earlier studies nor prove earlier results: back them up.
keep ctclip_pseudonym_key "$(make_random 32)"
keep ctclip_receipt_key "$(make_random 32)"
keep flower_basic_auth "ctclip:$(make_random 16)"
keep grafana_password "$(make_random 16)"

# Filled in once the platform runs, in place: `ctclip keys create prometheus --scope metrics` (docs/deploy.md).
[ -e secrets/metrics_key ] || { : > secrets/metrics_key; chmod 0644 secrets/metrics_key; }

keep ctclip_database_url "postgresql+psycopg2://ctclip:$(read_secret postgres_password)@postgres:5432/ctclip"
keep valkey_conf "requirepass $(read_secret broker_password)"
keep rabbitmq_conf "default_user = ctclip
default_pass = $(read_secret broker_password)"

# The broker may be changed while no job is under way, so an address that was made here follows the choice. Any other
# is the operator's own, and stays.
on_valkey="redis://:$(read_secret broker_password)@valkey:6379/0"
on_rabbitmq="amqp://ctclip:$(read_secret broker_password)@rabbitmq:5672//"
if [ -e secrets/ctclip_broker_url ]; then
    case $(read_secret ctclip_broker_url) in
        "$on_valkey" | "$on_rabbitmq") rm -f secrets/ctclip_broker_url ;;
        *) echo "secrets/ctclip_broker_url names a broker of your own and stays as it is." ;;
    esac
fi
case $broker in
    valkey) keep ctclip_broker_url "$on_valkey" ;;
    rabbitmq) keep ctclip_broker_url "$on_rabbitmq" ;;
esac

if [ ! -e .env ]; then
    sed "s/^COMPOSE_PROFILES=.*/COMPOSE_PROFILES=$broker,$device,monitoring/" .env.example > .env
fi
echo "secrets/ and .env are made. Next: docker compose up -d --build"
