# A job that runs one command of an operator in the cluster, made of control's Deployment: its image, settings, secrets and
# ways through the network, and beside them a claim at /backups. docs/DEPLOYMENT_GUIDE.md, "Back up", shows how it is used.
#   kubectl get deployment ct-control -o json | jq -f job.jq --arg claim NAME --args ctclip backup /backups/monday
$ARGS.positional as $command
| (.spec.template.metadata.labels + {"app.kubernetes.io/component": $command[1]}) as $labels
| {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name: (.metadata.name | sub("-control$"; "") + "-" + $command[1]),
      namespace: .metadata.namespace,
      labels: $labels
    },
    spec: {
      backoffLimit: 0,
      ttlSecondsAfterFinished: 43200,
      template: {
        metadata: {labels: $labels},
        spec: (
          .spec.template.spec
          | del(.terminationGracePeriodSeconds)
          | .restartPolicy = "Never"
          | .volumes += [{name: "backups", persistentVolumeClaim: {claimName: $claim}}]
          | .containers |= map(
              {name: $command[1], args: $command}
              + (del(.name, .args, .ports, .startupProbe, .readinessProbe, .livenessProbe, .lifecycle)
                 | .volumeMounts += [{name: "backups", mountPath: "/backups"}])
            )
        )
      }
    }
  }
| del(.metadata.namespace | nulls)
