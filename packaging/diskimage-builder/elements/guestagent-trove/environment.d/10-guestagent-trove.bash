# SPDX-License-Identifier: Apache-2.0
export DIB_GUESTAGENT_DATASTORE=${DIB_GUESTAGENT_DATASTORE:-mariadb}
