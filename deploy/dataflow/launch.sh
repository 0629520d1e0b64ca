#!/usr/bin/env bash
# Runs `beamvec extract` on Dataflow and watches it. Flags of beamvec or Beam that are given to this
# script come last, so that they win over what it chooses.
#
#   PROJECT=my-project REGION=us-central1 BUCKET=my-bucket IMAGE=... GPU=l4 \
#     deploy/dataflow/launch.sh --input gs://my-bucket/photos --output gs://my-bucket/dataset
set -euo pipefail

: "${PROJECT:?the id of your Google Cloud project}"
: "${REGION:?where workers run, such as us-central1; keep the bucket in the same region}"
: "${BUCKET:?a bucket for temporary files, without gs://}"
: "${IMAGE:?the image of the workers; deploy/dataflow/README.md tells how to build it}"

# The workers' GPU: none, l4 or t4. Each goes with its own machines, and a T4 gets a driver that is
# new enough for CUDA 12 only if it is asked for.
case "${GPU:=none}" in
  none) machine=n2-standard-8 accelerator= ;;
  l4) machine=g2-standard-8 accelerator='type:nvidia-l4;count:1;install-nvidia-driver' ;;
  t4) machine=n1-standard-8 accelerator='type:nvidia-tesla-t4;count:1;install-nvidia-driver:5xx' ;;
  *)
    echo "launch.sh: GPU is none, l4 or t4, not $GPU" >&2
    exit 2
    ;;
esac
machine=${MACHINE:-$machine}
threads=${THREADS:-${machine##*-}}
if ! [[ $threads =~ ^[0-9]{1,3}$ ]]; then
  echo "launch.sh: set THREADS to the number of vCPUs of $machine" >&2
  exit 2
fi

options=(
  --runner DataflowRunner
  --project "$PROJECT"
  --region "$REGION"

  # What Beam uploads, and what Dataflow keeps while a job runs. A lifecycle rule may delete it later.
  --temp_location "gs://$BUCKET/temp"
  --staging_location "gs://$BUCKET/staging"

  # Beam and beamvec are in the image: nothing is installed when a worker starts.
  --sdk_container_image "$IMAGE"
  --sdk_location container

  # One process a worker, with one model in it, shared by a thread for each vCPU. Otherwise Dataflow
  # starts a process for each vCPU, whose models together do not fit into a GPU's memory.
  --machine_type "$machine"
  --experiments no_use_multiple_sdk_containers
  --number_of_worker_harness_threads "$threads"

  # The image unpacked (7 GB with CUDA), logs, and what is shuffled.
  --disk_size_gb "${DISK_GB:-50}"

  # Dataflow adds workers while there is work for them, up to this number; it bounds what a job costs.
  --autoscaling_algorithm THROUGHPUT_BASED
  --max_num_workers "${MAX_WORKERS:-10}"
)

if [[ -n $accelerator ]]; then
  options+=(--dataflow_service_options "worker_accelerator=$accelerator")
fi

# An account with the rights that workers need and no others; without it, Compute Engine's default.
if [[ -n ${WORKER_ACCOUNT:-} ]]; then
  options+=(--service_account_email "$WORKER_ACCOUNT")
fi

# A subnetwork with Private Google Access, as regions/REGION/subnetworks/NAME: workers then have no
# address in the internet, and take a model from gs:// or from the image.
if [[ -n ${SUBNETWORK:-} ]]; then
  options+=(--subnetwork "$SUBNETWORK" --no_use_public_ips)
fi

exec beamvec extract "${options[@]}" "$@"
